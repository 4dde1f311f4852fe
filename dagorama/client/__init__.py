"""How a process talks to the broker: one connection, requests that outlast hiccups, outcomes made into values."""

import os
import sys

_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"

# gRPC looks for this once, when it is imported. By default it has handlers for forks that, with a connection open, do
# nothing but say that they do nothing, for each fork. Who has set the variable, or has imported gRPC, knows better.
if _FORK_SUPPORT not in os.environ and "grpc" not in sys.modules:
    os.environ[_FORK_SUPPORT] = "0"
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ[_FORK_SUPPORT]
