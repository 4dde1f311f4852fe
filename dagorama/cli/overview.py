"""An instance at one glance: how long it took, what ran when, by function, and what its end hung on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dagorama import FunctionProgress
from dagorama.analysis.drawing import told
from dagorama.analysis.phases import History, Span
from dagorama.analysis.snapshot import method_of
from dagorama.analysis.summary import Analysis
from dagorama.analysis.timeline import ASCII, BLOCKS, bar, busy_spans, most_at_once, running_at_once
from dagorama.analysis.wording import by_name, lasting, revived_after
from dagorama.cli.tables import Form, is_drawn, print_table, terminal_width

#: So many columns a timeline has at least and at most; a narrower terminal gets none.
BAR_MIN, BAR_MAX = 10, 60
#: So many functions of the critical path are named in a line.
NAMED_MAX = 4


def overview(analysis: Analysis, history: History) -> list[tuple[str, str]]:
    """Return names and values for `print_fields`."""
    if not history.nodes:
        return []
    spans = busy_spans(history)
    most = most_at_once(spans)
    line = timeline(history, spans, width=max(BAR_MIN, min(BAR_MAX, terminal_width() - 44)))
    # Spaces inside of it stand for time in which nothing ran; at a wrap they would be lost.
    ran = f"{line}  {most} at once at most" if is_drawn() and terminal_width() >= 60 else f"{most} at once at most"
    return [
        ("took", took_in_words(analysis, history)),
        ("ran", ran if most else ""),
        ("critical", path_in_words(analysis.path)),
    ]


def took_in_words(analysis: Analysis, history: History) -> str:
    """Return how long an instance took, and after how long it was revived; that is no part of it."""
    words = lasting(analysis.makespan_s) + ("" if analysis.has_ended else " so far")
    revived = revived_after([end - begin for begin, end in history.pauses])
    return f"{words}, {revived}" if revived else words


def timeline(history: History, spans: Sequence[Span], *, width: int, highest: float | None = None) -> str:
    """Return a line of so many letters that shows how many of the spans there were at once."""
    values = running_at_once(spans, began_at=history.began_at, ended_at=history.ended_at, parts=width)
    drawn = bar(values, highest=highest, blocks=blocks())
    return drawn.replace(" ", "·" if blocks() is BLOCKS else "_")


def path_in_words(path: Sequence[Span]) -> str:
    """Return the functions that the critical path leads through, each with its time, the longest of them."""
    times: dict[str, float] = {}
    for span in path:
        times[span.node.function] = times.get(span.node.function, 0.0) + span.duration_s
    longest = sorted(times, key=lambda function: -times[function])[:NAMED_MAX]
    named = [f"{method_of(function)} {lasting(times[function])}" for function in times if function in longest]
    more = f", {len(times) - len(longest)} more" if len(times) > len(longest) else ""
    return ", ".join(named) + more


def print_functions(analysis: Analysis, history: History) -> None:
    """Print a table of the functions of an instance, in the order of their first nodes."""
    order = list(dict.fromkeys(node.function for node in history.nodes))
    functions = sorted(analysis.functions, key=lambda one: order.index(one.function))
    spans = {one.function: busy_spans(history, one.function) for one in functions}
    busy = {one.function: sum(span.duration_s for span in spans[one.function]) for one in functions}

    def form(name: int, width: int) -> Form:
        """Give the table with a timeline of so many letters; 0 for none, with the nodes last, where they may wrap."""
        rows = [
            (
                (one.function, method_of(one.function), one.function.rpartition(".")[2])[name],
                lasting(busy[one.function]) if busy[one.function] else "",
                *([timeline(history, spans[one.function], width=width)] if width else []),
                told(one.counts),
            )
            for one in functions
        ]
        return Form(("FUNCTION", "TIME", *(["TIMELINE"] if width else []), "NODES"), rows)

    # A timeline before a module's name, and anything before a paragraph for each function.
    forms = [form(name, width) for width in (BAR_MAX, 40, 25, BAR_MIN, 0) for name in (0, 1, 2)]
    print_table(*forms, wraps="NODES")


def print_counts(functions: Sequence[FunctionProgress]) -> None:
    """Print a table of the functions of an instance whose nodes are only counted."""
    told_of = [(one.function, told(by_name(one.counts))) for one in functions]
    whole = Form(("FUNCTION", "NODES"), told_of)
    short = Form(("FUNCTION", "NODES"), [(method_of(function), nodes) for function, nodes in told_of])
    print_table(whole, short, wraps="NODES")


def blocks() -> str:
    """Return the heights that standard output has letters for."""
    try:
        f"{BLOCKS}·".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS
