"""The progress of a run, for people: how many nodes are in which state, on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from dagorama.analysis.pace import Pace
from dagorama.cli.tables import lasting

#: The states that are worth a word while it runs, in this order, with the word.
SHOWN = {
    "leased": "running",
    "ready": "ready",
    "waiting": "waiting",
    "joining": "joining",
    "started": "away with their workers",
    "backoff": "backing off",
    "failed": "failed",
    "dependency_failed": "dependency failed",
    "cancelled": "cancelled",
}


#: From so many columns on there is room for a bar, and for the pace.
BAR_MIN, PACE_MIN = 110, 80


class LiveProgress:
    """A line that is redrawn on a terminal, and nothing at all elsewhere."""

    def __init__(self, title: str) -> None:
        """Show the progress of `title`."""
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._counts: dict[str, int] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title = title
        self._pace = Pace()

    def __enter__(self) -> LiveProgress:
        """Start to draw."""
        if self.live:
            width = self.console.width
            # Whatever else there is no room for: how many are done, and the time, are whole.
            # The pace is whole as well where there is room.
            whole, cut = Column(no_wrap=True, min_width=7), Column(no_wrap=True, overflow="ellipsis", ratio=1)
            bar = [BarColumn(bar_width=20)] if width >= BAR_MIN else []
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                *bar,
                MofNCompleteColumn(table_column=whole),
                TextColumn("{task.fields[states]}", markup=False, table_column=cut),
                *([TextColumn("{task.fields[pace]}", markup=False, table_column=whole)] if width >= PACE_MIN else []),
                TimeElapsedColumn(table_column=whole),
                console=self.console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task(
                shortened(self._title, width * 2 // 5), total=None, states="starting", pace=""
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._bar:
            self._bar.stop()

    def update(self, counts: Mapping[str, int]) -> None:
        """Show how many nodes are in each state."""
        if self._bar and self._task is not None:
            total, completed = sum(counts.values()), counts.get("completed", 0)
            self._pace.add(monotonic(), completed)
            self._bar.update(
                self._task,
                total=total,
                completed=completed,
                states=describe(counts),
                pace=pace_in_words(self._pace, total),
            )

    def show(self, line: str) -> None:
        """Print a line of a worker above the progress."""
        self.console.print(line, markup=False, soft_wrap=True)


def pace_in_words(pace: Pace, total: int) -> str:
    """Return how many nodes complete in a second, and when the rest will have; empty where that is not known."""
    left_s = pace.left_s(total)
    return "" if left_s is None else f"{pace.rate:.3g}/s, {lasting(left_s)} left"


def shortened(title: str, width: int) -> str:
    """Return the end of a title, with the definition's name, where the whole is too long."""
    return title if len(title) <= width else f"…{title[1 - width :]}"


def describe(counts: Mapping[str, int]) -> str:
    """Return how many nodes are in each state that is not completed, in words."""
    return ", ".join(f"{counts[state]} {word}" for state, word in SHOWN.items() if counts.get(state))
