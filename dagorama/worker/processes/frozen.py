"""Imported after all else by the server that worker processes fork from: no collection of garbage walks the imports.

They stay to the end, in the server and in its processes. To walk them would take time in each of these, and copy the
memory that they share.
"""

import gc

gc.freeze()
