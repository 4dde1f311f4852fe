"""Imported before all else by the server that worker processes fork from: has gRPC leave their forks alone.

By default it has handlers for forks. They let a program that has used the broker fork, and the child use it too. In a
worker, whose stream is always open, they do nothing but say so, for each fork; and its children call nobody.
"""

from dagorama.client.polling import import_grpc

import_grpc({"GRPC_ENABLE_FORK_SUPPORT": "0"})
