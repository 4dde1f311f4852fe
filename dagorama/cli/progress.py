"""What a person sees of a run while it goes on: how many nodes are in which state, on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

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


class LiveProgress:
    """A line that is redrawn on a terminal, and nothing at all elsewhere."""

    def __init__(self, title: str) -> None:
        """`title` is what runs."""
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._counts: dict[str, int] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title = title

    def __enter__(self) -> LiveProgress:
        """Starts to draw."""
        if self.live:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[states]}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=None, states="starting")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the line away."""
        if self._bar:
            self._bar.stop()

    def update(self, counts: Mapping[str, int]) -> None:
        """Shows how many nodes are in each state."""
        if self._bar and self._task is not None:
            self._bar.update(
                self._task, total=sum(counts.values()), completed=counts.get("completed", 0), states=describe(counts)
            )

    def show(self, line: str) -> None:
        """Prints a line of a worker above the progress."""
        self.console.print(line, markup=False, soft_wrap=True)


def describe(counts: Mapping[str, int]) -> str:
    """Returns how many nodes are in each state that is not completed, in words."""
    return ", ".join(f"{counts[state]} {word}" for state, word in SHOWN.items() if counts.get(state))
