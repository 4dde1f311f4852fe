"""How far a job has got with its inputs, for a worker that takes it over from one that has died."""

from __future__ import annotations

from hashlib import sha256

from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import Missing
from dagorama.workflows.staging.places import OWN


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

    def forget(self) -> None:
        """Begin anew the next time: the command has ended."""
        self._directory.remove(self._place)
        self.done = 0
