"""`dagorama analyze`: where the time of an instance went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from dagorama.analysis.critical import runs_of
from dagorama.analysis.drawing import one_line
from dagorama.analysis.phases import LOST, Phase, Span
from dagorama.analysis.snapshot import method_of
from dagorama.analysis.summary import Analysis, analyze, sums
from dagorama.analysis.wording import lasting
from dagorama.cli.asking import asks_broker, look_at, print_json
from dagorama.cli.looking import standing
from dagorama.cli.options import HELP
from dagorama.cli.overview import took_in_words
from dagorama.cli.snapshots import history_of, snapshots_of
from dagorama.cli.tables import Form, moment, print_fields, print_table, print_text
from dagorama.client.status import InstanceStatus

#: A share of the makespan that is worth a word.
WORTH_A_WORD = 0.05

#: What helps against time that was lost in a phase.
ADVICE = {
    Phase.SUBMITTING: "the program that started it made its calls late",
    Phase.QUEUED: "nodes were ready and no worker took them: more workers or slots would help, or a higher priority",
    Phase.TAINTED: "nodes with a taint were ready: more workers that tolerate it would help",
    Phase.RETRYING: "attempts failed, and nodes backed off: `dagorama show` has the tracebacks",
    Phase.TRANSFER: "nodes and values travelled, or the broker was away: longer nodes or smaller values would help",
    Phase.UNKNOWN: "it is not recorded when nodes were started: they ran before the broker kept that",
}


@click.command(name="analyze", context_settings=HELP)
@click.argument("instance")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="At most so many steps of the critical path, the longest ones.",
)
@asks_broker
def analyze_command(instance: str, limit: int, as_json: bool) -> None:
    """Say where the time of an instance went: its critical path, and the time of all nodes by function.

    The critical path is the chain of nodes that the end hung on: only what makes it shorter makes the instance faster.
    Each node waits for its dependencies (waiting), then for a worker (queued, or tainted where only some workers take
    it), may fail and back off (retrying), travels (transfer), runs (running), and may wait for the promises that it
    returned (joining). Where it was retried or rerun, the time in which it was over counts for nothing, and what these
    nodes were at before is told as earlier. INSTANCE is an id, at least four of the digits that it begins or ends with,
    a key, or a workflow file; while it runs, the time until now counts.
    """
    looked_at = look_at(instance)
    found = looked_at.status
    history = history_of(found, snapshots_of(looked_at, way_out="there is no analysis of it"))
    analysis = analyze(history)
    if as_json:
        print_json(as_plain(found, analysis))
        return
    print_fields(
        [
            ("instance", str(found.instance_id)),
            ("definition", found.definition),
            ("state", standing(found)),
            ("created", moment(found.created_at)),
            ("took", took_in_words(analysis, history)),
            ("of which", in_words(analysis.critical_s, analysis.makespan_s)),
        ]
    )
    for line in advice(analysis):
        print_text(line)
    if analysis.path:
        click.echo()
        print_path(analysis.path, limit)
        click.echo()
        print_times(analysis)


def as_plain(found: InstanceStatus, analysis: Analysis) -> dict[str, object]:
    """Return the analysis for JSON."""
    return {
        "instance_id": found.instance_id,
        "definition": found.definition,
        "state": found.state,
        "makespan_s": analysis.makespan_s,
        "lost_s": analysis.lost_s,
        "critical_s": analysis.critical_s,
        "phases_s": analysis.phases_s,
        "path": [
            {
                "node_id": span.node.node_id,
                "function": span.node.function,
                "label": span.node.label,
                "phase": span.phase,
                "after_s": span.began_at - analysis.path[0].began_at,
                "duration_s": span.duration_s,
            }
            for span in analysis.path
        ],
        "functions": analysis.functions,
    }


def in_words(phases_s: Mapping[str, float], whole_s: float) -> str:
    """Return the time in each phase, the longest first, with its share of the whole."""
    longest = sorted(phases_s.items(), key=lambda each: -each[1])
    return ", ".join(f"{phase} {lasting(time)} ({time / whole_s:.0%})" for phase, time in longest if whole_s)


def advice(analysis: Analysis) -> Iterator[str]:
    """Yield a sentence for each phase in which a good part of the critical path was lost."""
    for phase in (*LOST, Phase.UNKNOWN):
        lost_s = analysis.critical_s.get(phase, 0.0)
        if lost_s and lost_s >= WORTH_A_WORD * analysis.makespan_s:
            yield f"{lasting(lost_s)} {phase}: {ADVICE[phase]}"


def print_path(path: Sequence[Span], limit: int) -> None:
    """Print the steps of the critical path, at most so many: neighbours of one function are one step if need be."""
    steps = list(runs_of(path))
    began_at = path[0].began_at
    kept = sorted(range(len(steps)), key=lambda place: -_duration(steps[place]))[:limit]
    rows = [(steps[place], in_words_of(steps[place])) for place in sorted(kept)]
    headers = ("AFTER", "TOOK", "NODE", "FUNCTION", "PHASES")

    def form(function: int, *, ids: bool) -> Form:
        return Form(
            headers,
            [
                (
                    lasting(step[0].began_at - began_at),
                    lasting(_duration(step)),
                    step[0].node.node_id if ids else step[0].node.node_id.replace("-", "")[-12:],
                    _named(step[0], function),
                    words,
                )
                for step, words in rows
            ],
        )

    forms = (form(0, ids=True), form(1, ids=True), form(1, ids=False), form(2, ids=False))
    print_table(*forms, optional={"PHASES"}, wraps="PHASES")
    left = len(steps) - len(kept)
    if left:
        rest_s = sum(map(_duration, steps)) - sum(_duration(step) for step, _ in rows)
        print_text(f"and {left} shorter steps, {lasting(rest_s)} together: --limit shows more")


def _named(span: Span, form: int) -> str:
    """Return function and label of a node, the shorter the higher `form`."""
    function = span.node.function
    name = (function, method_of(function), function.rpartition(".")[2])[form]
    label = one_line(span.node.label)
    return f"{name} {label}" if label else name


def in_words_of(step: Sequence[Span]) -> str:
    """Return the phases of a step of the path; a step of one phase that took all of it has that alone."""
    phases = sums(step)
    if len(phases) == 1:
        return next(iter(phases))
    return ", ".join(f"{phase} {lasting(time)}" for phase, time in phases.items())


def _duration(step: Sequence[Span]) -> float:
    return sum(span.duration_s for span in step)


#: The columns of the table of functions, with the phases whose time is in each.
COLUMNS = {
    "RUNNING": (Phase.RUNNING, Phase.UNKNOWN),
    "QUEUED": (Phase.QUEUED,),
    "TAINTED": (Phase.TAINTED,),
    "RETRYING": (Phase.RETRYING,),
    "TRANSFER": (Phase.TRANSFER,),
    "WAITING": (Phase.WAITING,),
    "JOINING": (Phase.JOINING,),
}


def print_times(analysis: Analysis) -> None:
    """Print the time of the nodes of each function, by phase."""
    headers = ("FUNCTION", "NODES", "ON PATH", *COLUMNS, "LONGEST")

    def form(function: int, *left_out: str) -> Form:
        kept = [place for place, header in enumerate(headers) if header not in left_out]
        rows = [
            (
                (one.function, method_of(one.function), one.function.rpartition(".")[2])[function],
                str(one.nodes),
                _told(one.critical_s),
                *(_told(sum(one.phases_s.get(phase, 0.0) for phase in phases)) for phases in COLUMNS.values()),
                _told(one.longest_s),
            )
            for one in analysis.functions
        ]
        return Form([headers[place] for place in kept], [[row[place] for place in kept] for row in rows])

    forms = [form(name, *left_out) for left_out in ((), ("JOINING", "WAITING")) for name in (0, 1, 2)]
    least = form(2, "JOINING", "WAITING", "TRANSFER", "LONGEST")
    print_table(*forms, least, form(2, *list(COLUMNS)[1:], "LONGEST"), optional=set(headers[2:]))


def _told(seconds: float) -> str:
    return lasting(seconds) if seconds > 0 else ""
