"""The owner of a worker: the process or program that runs it, as far as the worker has something to say to it."""

from __future__ import annotations

from dagorama.logging import get_logger


class Owner:
    """An owner that leaves the worker alone. Others override the methods that they need; none may block or raise.

    They are called in threads of the worker.
    """

    def connected(self, text: str) -> None:
        """Take note that the broker answers for the first time, in words for people."""

    def connection_changed(self, text: str, *, is_connected: bool) -> None:
        """Take note that the broker does not answer, or does so again, in words for people."""
        get_logger().warning("%s", text)

    def leaving(self, text: str) -> None:
        """Take note that the worker takes no more nodes, and ends the process later; in words for people."""

    def ended(self) -> None:
        """Take note that the worker has ended: `Worker.wait` does not block any more."""
