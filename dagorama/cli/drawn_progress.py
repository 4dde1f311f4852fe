"""The drawing of `progress`, which a terminal gets alone: others need not wait until what draws is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from dagorama import FunctionProgress
from dagorama.analysis.pace import Pace
from dagorama.analysis.wording import by_name, describe, pace_in_words
from dagorama.logging import printable

#: From so many columns on there is room for a bar, and for the pace.
BAR_MIN, PACE_MIN = 110, 80
#: So many functions have a line of their own.
FUNCTIONS_MAX = 8
#: What kernels set. A notebook begins a line anew, but has no way back to earlier ones: there only the whole is shown.
IN_NOTEBOOK = "JPY_PARENT_PID"
#: The colours of names, which begin anew after the last.
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


class _OfWhole(ProgressColumn):
    """A column that only the line of the whole has something in, not those of functions."""

    def __init__(self, column: ProgressColumn, table_column: Column | None = None) -> None:
        """Show `column` there."""
        super().__init__(table_column)
        self._column = column

    def render(self, task: Task) -> RenderableType:
        """Return what stands in it."""
        return self._column.render(task) if task.fields["whole"] else Text("")


class DrawnProgress:
    """Lines that are redrawn, one for the whole and one for each function."""

    def __init__(self, title: str, names: Sequence[str] = ()) -> None:
        """Show the progress of `title`. Lines that begin with one of the `names`, as "load | ", have it in a colour."""
        self._colours = dict(zip(map(printable, names), cycle(_COLOURS), strict=False))
        self.console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._functions: dict[str, TaskID] = {}
        self._title = printable(title)
        self._pace = Pace()

    def __enter__(self) -> Self:
        """Start to draw."""
        width = self.console.width
        # Whatever else there is no room for: how many are done, and the time, are whole, and so is the pace.
        whole, cut = Column(no_wrap=True, min_width=7), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        bar = [BarColumn(bar_width=20)] if width >= BAR_MIN else []
        pace = TextColumn("{task.fields[pace]}", markup=False)
        self._bar = Progress(
            _OfWhole(SpinnerColumn()),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            *bar,
            MofNCompleteColumn(table_column=whole),
            TextColumn("{task.fields[states]}", markup=False, table_column=cut),
            *([_OfWhole(pace, table_column=Column(no_wrap=True))] if width >= PACE_MIN else []),
            _OfWhole(TimeElapsedColumn(), table_column=whole),
            console=self.console,
            transient=True,
            expand=True,
        )
        title = shortened(self._title, width * 2 // 5)
        self._task = self._bar.add_task(title, total=None, states="starting", pace="", whole=True)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the lines away."""
        if self._bar:
            self._bar.stop()

    def update(self, counts: Mapping[str, int]) -> None:
        """Show how many nodes are in each state."""
        if self._bar and self._task is not None:
            total, completed = sum(counts.values()), counts.get("completed", 0)
            self._pace.add(monotonic(), completed)
            states, pace = describe(counts), pace_in_words(self._pace, total)
            self._bar.update(self._task, total=total, completed=completed, states=states, pace=pace)

    def update_functions(self, functions: Sequence[FunctionProgress]) -> None:
        """Show a line for each of the first functions, where there are several."""
        if not self._bar or len(functions) < 2 or IN_NOTEBOOK in os.environ:
            return
        for one in functions[:FUNCTIONS_MAX]:
            if one.function not in self._functions:
                name = shortened(printable(one.function.rpartition(".")[2]), self.console.width // 4)
                self._functions[one.function] = self._bar.add_task(
                    f"  {name}", total=None, states="", pace="", whole=False
                )
            task = self._functions[one.function]
            self._bar.update(task, total=one.total, completed=one.completed, states=describe(by_name(one.counts)))

    def show(self, line: str) -> None:
        """Print a line of a worker above the progress."""
        name, bar, rest = line.partition(" | ")
        colour = self._colours.get(name) if bar else None
        told = Text.assemble((name + bar, colour), rest) if colour else line
        self.console.print(told, markup=False, soft_wrap=True)


def shortened(title: str, width: int) -> str:
    """Return the end of a title, with the definition's name, where the whole is too long."""
    return title if len(title) <= width else f"…{title[1 - width :]}"
