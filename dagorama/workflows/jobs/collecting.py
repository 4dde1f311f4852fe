"""Collects what is wrong with a jobs file while it is read, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Collection

from dagorama.workflows.problems import Place, Problem, did_you_mean

#: A close name is looked for so often in a file: it takes a while.
_LOOKED_FOR_MAX = 100
#: All known names are told where they are no more.
_TOLD_MAX = 12


class Problems:
    """The problems of one file, and its notices: that something is taken in another way than one may think."""

    def __init__(self, file: str) -> None:
        """Begin without any."""
        self.file = file
        self.found: list[Problem] = []
        self.notices: list[Problem] = []

    def add(self, line: int, message: str, way_out: str) -> None:
        """Note a problem."""
        self.found.append(Problem(place=self.place(line), message=message, way_out=way_out))

    def notice(self, line: int, message: str) -> None:
        """Note something that runs all the same."""
        self.notices.append(Problem(place=self.place(line), message=message))

    def place(self, line: int) -> Place:
        """Return a line of the file."""
        return Place(file=self.file, line=line)

    def guess(self, name: str, known: Collection[str]) -> str:
        """Return the way out for a name that is not known: the one that was meant, or all where they are few."""
        if len(self.found) < _LOOKED_FOR_MAX and (question := did_you_mean(name, known)):
            return question
        if 0 < len(known) <= _TOLD_MAX:
            return f"there are {', '.join(sorted(known))}"
        return "write one that the file has"
