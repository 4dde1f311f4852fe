"""A shield for the server that a supervisor's worker processes fork from, which imports it: SIGTERM passes it by.

An init system that stops a service may send SIGTERM to all its processes. Without their server the workers would count
as dead at once, in the middle of their nodes. So it blocks the signal, and each worker, which inherits that, unblocks
it.
"""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
