"""How far a job has got with its inputs, for a worker that takes it over from one that has died."""

from __future__ import annotations

from hashlib import sha256

from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import Missing
from dagorama.workflows.staging.places import OWN
from dagorama.workflows.staging.steps import Input, Move


class Progress:
    """The number of inputs that were brought, in a file of dagorama's own in the run's directory."""

    def __init__(self, directory: Directory, key: str) -> None:
        """Find out how far the job of a key has got."""
        self._directory = directory
        self._place = f"{OWN}/{sha256(key.encode()).hexdigest()}"
        self.done = self._read()

    def _read(self) -> int:
        try:
            with self._directory.reading(self._place) as opened:
                text = opened.read(20)
        except Missing:
            return 0
        return int(text) if text.isdigit() else 0

    def note(self, done: int) -> None:
        """Note that so many are there."""
        with self._directory.writing(self._place) as to:
            to.write(b"%d" % done)
        self.done = done

    def has_moved(self, number: int, step: Input) -> bool:
        """Return whether the input of this number is a move that the job has made; note that it makes it now if not.

        A file is moved once, be it that the job is tried again: its origin may be of another job, and is gone then.
        """
        if not isinstance(step, Move):
            return False
        mark = f"{self._place}-{number}"
        if self._is_there(step.origin):
            with self._directory.writing(mark):
                return False
        return self._is_there(mark) and self._is_there(step.local)

    def _is_there(self, place: str) -> bool:
        try:
            self._directory.kind(place)
        except Missing:
            return False
        return True

    def forget(self) -> None:
        """Begin anew the next time: the command has ended."""
        self._directory.remove(self._place)
        self.done = 0
