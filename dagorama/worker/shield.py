"""Imported by the server that a supervisor's worker processes fork from: lets SIGTERM pass it by.

Whoever stops a service may send SIGTERM to all its processes. Without their server the workers would count as dead at
once, in the middle of what they run. So it blocks the signal, and each worker, which inherits that, unblocks it.
"""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
