"""Imported before all else by the server that worker processes fork from: has gRPC leave their forks alone.

By default it has handlers for forks. They let a program that has used the broker fork, and the child use it too. In a
worker, whose stream is always open, they do nothing but say so, for each fork; and its children call nobody.
"""

import os
import sys

_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"

# gRPC looks for this once, when it is imported. Who has set the variable knows better.
if _FORK_SUPPORT not in os.environ and "grpc" not in sys.modules:
    os.environ[_FORK_SUPPORT] = "0"
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ[_FORK_SUPPORT]
