"""Problems of files: each with its place and the way out, all of a file at once.

DagoramaError
|-- WorkflowError   (ValueError)   a file is no workflow, and why
|-- TaskFailed                     a task has run and failed
|   `-- TaskNotStarted             a task has not run, as another had failed before
`-- TaskLeft                       a command of a task may go on, and this attempt cannot follow it

PlainFailure                       the work of a task fails, and the message says all
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from dagorama.errors import DagoramaError
from dagorama.logging import printable

#: So many problems of a file are told; the rest is counted.
TOLD_MAX = 50
#: A part of a file that is quoted in a message is no longer.
QUOTED_MAX = 80
#: A name that was meant is looked for by so many of its characters, and among so many of the first names. To compare
#: two takes a time as the square of their lengths, of which the sum is bounded: hundredths of a second in all.
_ALIKE_CHARS_MAX, _KNOWN_MAX, _COMPARED_MAX = 200, 1_000, 400_000
#: So many names stand in one line.
NAMED_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """A line of a file; line 0 is the whole file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """Write it as compilers do."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A thing that is wrong with a workflow, or that its author ought to know."""

    place: Place
    message: str
    #: The next thing to do; empty where the message says it.
    way_out: str = ""
    #: It runs all the same, unless it is read strictly.
    is_warning: bool = False
    #: It is nobody's fault, and never wrong: a thing to know.
    is_notice: bool = False

    def __str__(self) -> str:
        """Write it in one line that ends with the way out."""
        kind = "warning: " if self.is_warning else "notice: " if self.is_notice else ""
        parts = [f"{self.place}: {kind}{self.message}" if str(self.place) else f"{kind}{self.message}", self.way_out]
        return printable("; ".join(filter(None, parts)))


class Findings:
    """The problems of one file, and what its author ought to know, as they are found."""

    def __init__(self) -> None:
        """Begin without any."""
        self.problems: list[Problem] = []
        self.notices: list[Problem] = []

    def wrong(self, place: Place, message: str, way_out: str = "") -> None:
        """Note something that is wrong."""
        self.problems.append(Problem(place=place, message=message, way_out=way_out))

    def doubtful(self, place: Place, message: str, way_out: str) -> None:
        """Note something that runs all the same, unless it is read strictly."""
        self.problems.append(Problem(place=place, message=message, way_out=way_out, is_warning=True))

    def notice(self, place: Place, message: str) -> None:
        """Note something that is nobody's fault."""
        self.notices.append(Problem(place=place, message=message))


class WorkflowError(DagoramaError, ValueError):
    """A file is no workflow that could run."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take all problems of the file, in any order."""
        self.problems = in_order(problems)
        told = [str(problem) for problem in self.problems[:TOLD_MAX]]
        rest = len(self.problems) - TOLD_MAX
        super().__init__("\n".join([*told, *([f"and {rest} more"] if rest > 0 else [])]))


class TaskFailed(DagoramaError):
    """A task has run and failed."""

    def __init__(self, *, task_id: str, problem: str) -> None:
        """`problem` says how it ended, such as "ended with exit status 3"."""
        self.task_id = task_id
        self.problem = problem
        super().__init__(f"{quoted(task_id)} {problem}")


class TaskNotStarted(TaskFailed):
    """A task has not run: another had failed, and the workflow does not allow partial failure."""


class TaskLeft(DagoramaError):
    """A command of a task may go on, and this attempt cannot follow it: the next one does. Its files stay."""

    def __init__(self, *, task_id: str, problem: str) -> None:
        """`problem` says why, such as "cannot be followed: ..."."""
        self.task_id = task_id
        self.problem = problem
        super().__init__(f"{quoted(task_id)} {problem}")


class PlainFailure(Exception):
    """Work has failed, and the message says all: nobody's code is wrong, and no traceback is shown."""


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems in the order of their places."""
    return tuple(sorted(problems, key=lambda problem: problem.place))


def quoted(text: str) -> str:
    """Return a part of a file for a message: printable, and not too long."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """Return a part of a file that is not too long for a message."""
    return text if len(text) <= QUOTED_MAX else f"{text[: QUOTED_MAX - 1]}…"


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return the question whether one of the known names was meant; nothing where none is like it."""
    from difflib import get_close_matches  # which only slips wait for

    begin = name[:_ALIKE_CHARS_MAX]
    first = list(islice(known, min(_KNOWN_MAX, _COMPARED_MAX // (len(begin) ** 2 or 1))))
    # Ratcliff and Obershelp's pattern matching.
    alike = get_close_matches(begin, first, n=most) or get_close_matches(begin.lower(), first, n=most)
    return f"did you mean {' or '.join(map(quoted, alike))}?" if alike else ""


def named(names: Sequence[str], most: int = NAMED_MAX) -> str:
    """Return names in one line, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
