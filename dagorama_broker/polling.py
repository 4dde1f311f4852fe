"""Imported before all else by the broker's process: has the thread that takes what came wait for it itself.

The collector of garbage stands still until `__main__` has imported the rest. It would walk what is imported again and
again, in a tenth of the time in which a broker starts, and find nothing.
"""

import gc

from dagorama.client.polling import import_grpc

gc.disable()
import_grpc({})
