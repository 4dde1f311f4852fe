"""Exits 0 when the broker in this container answers that it serves, 1 otherwise; HOST:PORT as an argument for another.

Without an argument the port is DAGORAMA_PORT, as for the broker itself.

It speaks `grpc.health.v1` by hand: an empty request asks for the server as a whole, field 1 of the reply is the status.
"""

import os
import sys

import grpc

SERVING = b"\x08\x01"


def check(address: str) -> bool:
    """Tells whether the broker at `address` serves; never raises for one that is not there. Takes up to 4 s."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/grpc.health.v1.Health/Check", lambda request: request, lambda reply: reply)
        try:
            return bool(ask(b"", timeout=4, wait_for_ready=True) == SERVING)
        except grpc.RpcError:
            return False


if __name__ == "__main__":
    own = f"localhost:{os.environ.get('DAGORAMA_PORT') or 50051}"
    sys.exit(0 if check(sys.argv[1] if len(sys.argv) > 1 else own) else 1)
