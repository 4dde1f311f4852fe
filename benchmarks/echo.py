"""A message to a worker and one back over a stream of gRPC, and nothing else: what the wire itself takes of a hop.

A broker writes to a stream by gRPC's asyncio API, and a worker sends back what it takes by the synchronous one. Here
both do that and no more: nothing is encoded, decided, run or kept. Each is a process of its own, as it is there, with
gRPC set as it is there. No chain over this wire can have a shorter hop.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import perf_counter

from dagorama.client.polling import import_grpc

#: About what a grant and a report of a small node take.
MESSAGE = bytes(100)
METHOD = "/dagorama.benchmarks.Echo/Work"


def echo_ms(messages: int) -> float:
    """Returns the milliseconds that one message to a worker and back takes, of so many after each other."""
    with running("serve", str(messages)) as broker:
        assert broker.stdout is not None
        with running("answer", broker.stdout.readline().strip()):
            return float(broker.stdout.readline())


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Runs one side as a process of its own, which does not outlive the `with` block."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.echo", *words], stdout=subprocess.PIPE, text=True) as side:
        try:
            yield side
        finally:
            side.kill()


async def serve(messages: int) -> None:
    """Prints the port, and then the milliseconds of one message, once a worker has sent that many back."""
    import grpc
    from grpc import aio

    taken: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def work(answers: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]) -> None:
        await context.read()  # the worker is there
        for _ in range(messages // 10):
            await context.write(MESSAGE)
            await context.read()
        began_at = perf_counter()
        for _ in range(messages):
            await context.write(MESSAGE)
            await context.read()
        taken.set_result((perf_counter() - began_at) / messages * 1000)

    class Echo(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            return grpc.stream_stream_rpc_method_handler(work)

    server = aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    print(await taken, flush=True)
    await server.stop(None)


def answer(port: str) -> None:
    """Sends back what comes, until the stream ends."""
    import grpc

    answers: SimpleQueue[bytes] = SimpleQueue()
    answers.put(b"here")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        for message in stream(iter(answers.get, None)):
            answers.put(message)


if __name__ == "__main__":
    import_grpc({})
    side, argument = sys.argv[1:]
    if side == "serve":
        asyncio.run(serve(int(argument)))
    else:
        answer(argument)
