"""News of a worker process to its parent."""

from __future__ import annotations

from enum import Enum, auto
from multiprocessing.connection import Connection


class News(Enum):
    """An event in a worker process; each comes with a text for people, which may be empty."""

    READY = auto()  #: It has imported what it needs, and asks the broker for work.
    CONNECTED = auto()  #: The broker answers.
    DISCONNECTED = auto()  #: It does not.
    CANNOT_START = auto()  #: The process ends, and another would end in the same way.
    LEAVING = auto()  #: It takes no more work, and ends when what must not be cut off has ended.
    TOLD_TO_END = auto()  #: It ends because somebody has asked the broker for that: no other is to take its place.
    DRAINED = auto()  #: It ends because it was told to, or because nothing is left to do.


def tell(status: Connection, news: News, text: str = "") -> None:
    """Tell the parent."""
    try:
        status.send((news, text))
    except OSError:  # it is going, and with it this process
        return
