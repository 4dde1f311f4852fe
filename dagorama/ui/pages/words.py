"""The words of the page: filters and globals that its templates have."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, urlencode
from uuid import UUID

from markupsafe import Markup, escape

from dagorama import InstanceStatus, LogGap, LogLine
from dagorama.analysis.wording import lasting, revived_after, shown_size
from dagorama.workflows.artifacts import ArtifactInfo

#: The states of nodes in the order of bars and legends: what has ended, what is at work, what is to come.
ORDER = (
    "completed",
    "cancelled",
    "dependency_failed",
    "failed",
    "leased",
    "started",
    "joining",
    "backoff",
    "ready",
    "waiting",
)
#: States whose word is not their name.
STATE_WORDS = {
    "leased": "running",
    "started": "away",
    "backoff": "backing off",
    "dependency_failed": "dependency failed",
}
#: A bar has so many units; a state that has nodes gets so many at least, so that one failure in a million shows.
BAR_UNITS, BAR_UNITS_MIN = 1000, 8


_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Part(NamedTuple):
    """The part of a bar that stands for the nodes in one state."""

    state: str
    x: int
    width: int


def state_word(state: str) -> str:
    """Return the word of a state for people."""
    return STATE_WORDS.get(state, state)


def in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the states that have nodes, in the order of bars, each with the number."""
    return [(state, counts[state]) for state in ORDER if counts.get(state)]


def in_words(counts: Mapping[str, int]) -> str:
    """Return the numbers of nodes by state, in words."""
    return ", ".join(f"{count} {state_word(state)}" for state, count in in_order(counts)) or "no nodes"


def parts_of_bar(counts: Mapping[str, int]) -> Iterator[Part]:
    """Yield the parts of a bar, which fill it together; none is too small to be seen."""
    found = in_order(counts)
    total = sum(count for _, count in found)
    widths = [max(BAR_UNITS_MIN, count * BAR_UNITS // total) for _, count in found]
    if widths:
        widths[widths.index(max(widths))] += BAR_UNITS - sum(widths)
    x = 0
    for (state, _), width in zip(found, widths, strict=True):
        yield Part(state, x, width)
        x += width


def short(one: UUID | str) -> str:
    """Return the end of an id, which tells ids apart: they begin with the time."""
    return str(one).replace("-", "")[-12:]


def class_of(name: str) -> str:
    """Return the name without its module: "Etl" for "samples.etl:Etl", "Etl.load" for a function of it.

    The functions of workflows are called by what their nodes are to people.
    """
    return _OF_WORKFLOWS.get(name) or name.rpartition(":")[2] or name


def title_of(about: InstanceStatus) -> str:
    """Return the name of an instance: that of the workflow that it is a run of, or of its definition's class."""
    return about.workflow or class_of(about.definition)


def limit_name(key: str) -> str:
    """Return the name of a limit without its module: "Etl.load(tenant)[7]" for "etl:Etl.load(tenant)[7]"."""
    return re.sub(r"^[\w.]+:(?=[\w.]+\()", "", key)


def module_of(name: str) -> str:
    """Return the module in the name of a definition or a function; empty for none."""
    return name.rpartition(":")[0]


def method_of(name: str) -> str:
    """Return the last part of the name of a function."""
    return class_of(name).rpartition(".")[2]


def grouped(number: int) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")


def file_of(info: ArtifactInfo) -> str:
    """Return the name of a file that a task has saved, without that of the task."""
    return info.name.removeprefix(f"{info.job}/") or info.name


def iso(time: datetime) -> str:
    """Return a time as scripts read it, in UTC."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def exact(time: datetime) -> str:
    """Return a time to the second, in UTC; scripts put it into the zone of the reader."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(time: datetime) -> str:
    """Return the time of day to a tenth of a second, in UTC; scripts put it into the zone of the reader."""
    in_utc = time.astimezone(UTC)
    return f"{in_utc:%H:%M:%S}.{in_utc.microsecond // 100_000}"


def ago(time: datetime) -> str:
    """Return how long ago a time was, or how far off it is, roughly."""
    passed_s = (datetime.now(UTC) - time).total_seconds()
    if abs(passed_s) < 5:
        return "just now"
    told = _roughly(abs(passed_s))
    return f"{told} ago" if passed_s > 0 else f"in {told}"


def since(time: datetime) -> str:
    """Return how long something has been going on that began at a time."""
    return lasting(max(0.0, float(int((datetime.now(UTC) - time).total_seconds()))))


def _roughly(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def revived(about: InstanceStatus) -> str:
    """Return after how long an instance was retried or rerun, of which it has been over."""
    return revived_after([pause.duration_s for pause in about.pauses])


def level_class(line: LogLine | LogGap) -> str:
    """Return how loud a line is: "error", "warning" or "plain"."""
    level = line.level if isinstance(line, LogLine) and line.is_logged else 0
    if level >= logging.ERROR:
        return "error"
    return "warning" if level >= logging.WARNING else "plain"


def coded(text: str) -> Markup:
    """Return a text in which what stands between backticks is code; all of it is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


#: The definition behind runs of workflows, and their nodes by their functions.
RUN = "dagorama.workflows.running:RunWorkflow"
_OF_WORKFLOWS = {f"{RUN}.entrypoint": "workflow", f"{RUN}.run_task": "task", f"{RUN}.keep_artifact": "saved file"}
#: A node in a sentence, in brackets after its function, and its instance where that is another one.
_NODE = re.compile(rf"\(({_ID})\)( of instance ({_ID}))?")


def linked(text: str, instance_id: UUID) -> Markup:
    """Return a sentence about nodes, in which each leads to its page, under the end of its id."""
    found, end = Markup(), 0
    for match in _NODE.finditer(text):
        node, _, of = match.groups()
        url = f"/instances/{of or instance_id}/nodes/{node}"
        found += coded(text[end : match.start()]) + Markup('(<a href="{}" title="{}">{}</a>)').format(
            url, node, short(node)
        )
        if of:
            found += Markup(' of instance <a href="{}" title="{}">{}</a>').format(f"/instances/{of}", of, short(of))
        end = match.end()
    return found + coded(text[end:])


def path(place: str, /, **query: object) -> str:
    """Return an address of ours with a query, of which empty values are left out."""
    given = [(name, value) for name, value in query.items() if value not in (None, "", (), [])]
    told = urlencode(given, doseq=True)
    return quote(place, safe="/") + (f"?{told}" if told else "")


#: By the names that templates have for them.
FILTERS: dict[str, Callable[..., object]] = {
    each.__name__: each
    for each in (
        *(
            state_word,
            in_order,
            in_words,
            parts_of_bar,
            short,
            class_of,
            title_of,
            limit_name,
            module_of,
            method_of,
            grouped,
            shown_size,
            file_of,
        ),
        *(iso, exact, clock, ago, since, revived, level_class, lasting, coded, linked),
    )
}
GLOBALS: dict[str, Callable[..., object]] = {"path": path}
