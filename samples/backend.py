"""A web backend that starts an instance for each order, and remembers nothing itself.

    python samples/backend.py PORT

The path of an order is the key of its instance. So a request that comes twice starts one instance, and a backend that
was restarted, or another one beside it, finds all orders. A broker, and `worker --import orders`, run elsewhere.

    PUT     /orders/17   {"customer": "ada", "items": ["book", "lamp"]}    start it, once
    GET     /orders/17   or /orders/17?wait=10     tell how it stands, or wait until it has ended, so many seconds
    DELETE  /orders/17                             cancel it
    GET     /orders      or /orders?customer=ada   list all orders, or those of a customer
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from orders import Order

from dagorama import (
    BrokerRefused,
    BrokerUnavailable,
    Instance,
    InstanceCancelled,
    InstanceFailed,
    InstanceState,
    KeyConflict,
    ResultTimeout,
    attach,
    instance_options,
    instances,
)


def start(path: str, customer: str, items: list[str]) -> Instance:
    with instance_options(key=path, tags={"customer": customer}):
        instance, _ = Order()(customer, items)
    return attach(instance.instance_id)


def find(path: str) -> Instance:
    for instance in instances(key=path):
        return instance
    raise LookupError(f"there is no {path}")


def wait(instance: Instance, seconds: float) -> Instance:
    with suppress(ResultTimeout, InstanceFailed, InstanceCancelled):  # its state says so
        instance.wait(timeout=seconds)
    return instance


def told(instance: Instance) -> dict[str, object]:
    state, progress = instance.state, instance.progress()
    value = instance.result() if state is InstanceState.COMPLETED else None
    return {"order": instance.key, "state": state, "done": f"{progress.ended} of {progress.total}", "value": value}


class Backend(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.answer(lambda: told(start(self.path, **json.loads(self.body()))))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        if url.path == "/orders":
            self.answer(lambda: [told(each) for each in instances(definition=Order, tags=query)])
        else:
            self.answer(lambda: told(wait(find(url.path), float(query.get("wait", "0")))))

    def do_DELETE(self) -> None:
        def cancel() -> object:
            order = find(self.path)
            order.cancel()
            return told(order)

        self.answer(cancel)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, act: Callable[[], object]) -> None:
        """Answer with what this gives, or with the error that it raises."""
        try:
            status, answer = 200, act()
        except (KeyConflict, BrokerRefused) as error:  # it was started with something else; it has ended already
            status, answer = 409, {"error": str(error)}
        except LookupError as error:
            status, answer = 404, {"error": str(error)}
        except BrokerUnavailable as error:
            status, answer = 503, {"error": str(error)}
        except (TypeError, ValueError) as error:
            status, answer = 400, {"error": str(error)}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Backend) as server:
        print(f"http://127.0.0.1:{server.server_port}/orders", flush=True)
        server.serve_forever()
