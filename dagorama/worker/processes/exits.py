"""Exit statuses of worker processes, and what each says."""

from __future__ import annotations

import signal

from dagorama.worker.shell.stopping import EXIT_CANCELLED, EXIT_OVERRUN

#: What the worker needs was closed; something to import could not be; a second SIGTERM.
EXIT_CLOSED = 1
EXIT_IMPORT_FAILED = 3
EXIT_STOPPED = 128 + signal.SIGTERM

#: Exit codes, as multiprocessing gives them, of processes that end because a node does not; another takes its place.
#: A node may end its process so as well: the board tells whether the worker did.
ENDED_FOR_NODE = {
    EXIT_OVERRUN: "a node overran its timeout",
    -signal.SIGALRM: "a node overran its timeout",
    EXIT_CANCELLED: "a node went on after it was cancelled",
}
