"""The output of a run: Domino gives all of it each time, and followers are told each piece once.

How much was told is in a file of this machine, for the worker that goes on following. One on another machine tells it
from the beginning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from html import unescape
from pathlib import Path
from time import monotonic, sleep

from dagorama.workflows.executors.domino.platform import DominoAway, DominoRefuses
from dagorama.workflows.executors.port import Output
from dagorama.workflows.executors.process.places import jobs_folder

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
#: Asking for the output takes at most one part in so many of the time.
_SHARE = 10
#: What is left when a run has ended is asked for so long, with pauses.
_REST_S, _AGAIN_S, _AGAIN_MAX_S = 60.0, 0.2, 10.0


def text_of(told: str) -> str:
    """Return the text of HTML as Domino shows output: escaped, with tags for colours."""
    return unescape(_TAG.sub("", told))


class RunLogs:
    """The `JobLogs` of a run."""

    def __init__(self, run_id: str, ask: Callable[[], str]) -> None:
        """Begin where the follower before, on this machine, has left off; `ask` returns all of the output."""
        self._ask = ask
        folder = jobs_folder() / "domino"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._note = folder / sha256(run_id.encode()).hexdigest()[:32]
        self._told_chars = _number_in(self._note)
        self._seen = (0, False)
        self._is_due = True
        self._is_done = False
        self._rest_s = _REST_S
        self._is_all_read = False
        self._ask_at = 0.0

    def look(self) -> None:
        """Have the next `read` ask for more."""
        self._is_due = True

    def finish(self, *, is_waited_for: bool) -> None:
        """Take note that the run has ended, so that what is there is all that comes, and whether to wait for it."""
        self._is_done = True
        self._rest_s = _REST_S if is_waited_for else 0.0

    def read(self) -> Sequence[Output]:
        """Return what has come since the last call; after the end what is left is waited for."""
        if self._is_all_read or (not self._is_done and (not self._is_due or monotonic() < self._ask_at)):
            return []
        self._is_due = False
        began_at = monotonic()
        try:
            told = self._rest() if self._is_done else self._ask()
        except (DominoAway, DominoRefuses) as error:
            if not self._is_done:
                return []
            self._is_all_read = True  # it is said once
            return [Output(stream=1, data=f"dagorama: the rest of the output cannot be read: {error}\n".encode())]
        self._is_all_read = self._is_done
        self._ask_at = monotonic() + _SHARE * (monotonic() - began_at)
        return self._new_in(told)

    def close(self) -> None:
        """Release nothing."""

    def forget(self) -> None:
        """Remove what is kept of how much was told."""
        self._note.unlink(missing_ok=True)

    def _new_in(self, told: str) -> Sequence[Output]:
        seen = (len(told), self._is_done)
        if seen == self._seen:
            return []
        self._seen = seen
        text = text_of(told)
        # Of a line without an end the rest may be on its way.
        end = len(text) if self._is_done else text.rfind("\n") + 1
        if end <= self._told_chars:
            return []
        piece, self._told_chars = text[self._told_chars : end], end
        with suppress(OSError):  # it is told twice where this worker dies now
            _write(self._note, str(end))
        return [Output(stream=1, data=piece.encode(errors="backslashreplace"))]

    def _rest(self) -> str:
        give_up_at = monotonic() + self._rest_s
        pause_s = _AGAIN_S
        while True:
            try:
                return self._ask()
            except DominoAway:
                if monotonic() >= give_up_at:
                    raise
            sleep(pause_s)
            pause_s = min(2 * pause_s, _AGAIN_MAX_S)


def _number_in(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdigit() else 0


def _write(path: Path, text: str) -> None:
    """Write a small file so that it is never half."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="ascii")
    os.replace(new, path)
