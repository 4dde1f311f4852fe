"""Imported before all else by the broker's process: has the thread that takes what came wait for it itself."""

from dagorama.client.polling import import_grpc

import_grpc({})
