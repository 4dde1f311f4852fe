"""The commands that look at a running broker: `instances`, `show`, `node`, `workers`, `queues`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import click

from dagorama import Instance, Node, ValuePreview, broker_settings
from dagorama import queues as list_queues
from dagorama import workers as list_workers
from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import method_of
from dagorama.analysis.summary import Analysis, analyze
from dagorama.analysis.wording import HELD_SETTING, describe, held_in_words, lasting
from dagorama.cli.asking import asks_broker, find_instance, look_at, print_json
from dagorama.cli.choosing import Chosen, takes_filter
from dagorama.cli.node_names import find_node, labelled
from dagorama.cli.options import HELP
from dagorama.cli.overview import overview, print_counts, print_functions
from dagorama.cli.screen import watch_lines
from dagorama.cli.snapshots import history_of, snapshots_of
from dagorama.cli.tables import (
    Form,
    end_of,
    is_drawn,
    moment,
    print_fields,
    print_table,
    print_text,
    short_moment,
    table_lines,
)
from dagorama.client.status import (
    WORKFLOW_RUN,
    AttemptStatus,
    InstanceStatus,
    NodeStatus,
    QueueStatus,
    UndoneStatus,
    WorkerStatus,
)
from dagorama.errors import WORKFLOW_ERRORS
from dagorama.instance.node import failure_in
from dagorama.logging import printable
from dagorama.workflows.endings import told_failure

#: Of an instance with more nodes `show` does not read all, as it is to answer at once.
ANALYZED_MAX = 10_000
ENDED = frozenset({"completed", "failed", "dependency_failed", "cancelled"})


@click.command(context_settings=HELP)
@takes_filter
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--watch", is_flag=True, help="Show the list on the terminal until q or Ctrl-C, as it changes.")
@asks_broker
def instances(
    chosen: Chosen,
    limit: int,
    watch: bool,
    as_json: bool,
) -> None:
    """List instances, newest first; those that fit all of the options."""
    if watch and not as_json and is_drawn():
        watch_lines(lambda size: instance_lines(_listed(chosen, limit), size[0]))
    elif as_json:
        print_json(_listed(chosen, limit))
    else:
        forms, optional = _instance_forms(_listed(chosen, limit))
        print_table(*forms, optional=optional)


def _listed(chosen: Chosen, limit: int) -> list[InstanceStatus]:
    return [one.status for one in chosen.listed(limit=limit)]


def instance_lines(listed: Sequence[InstanceStatus], width: int) -> list[str]:
    """Return the lines of a list of instances on a terminal of so many columns."""
    forms, optional = _instance_forms(listed)
    return table_lines(*forms, width=width, optional=optional)


def _instance_forms(listed: Sequence[InstanceStatus]) -> tuple[list[Form], set[str]]:
    """Return the forms of a list of instances for `print_table`, and the columns that may be left out."""
    headers = ("INSTANCE", "DEFINITION", "STATE", "CREATED", "PRIORITY", "GROUP", "CAP", "NODES")
    whole = Form(headers, [(str(one.instance_id), *_told(one)) for one in listed])
    short = Form(headers, [(str(one.instance_id), *_told_in_short(one)) for one in listed])
    optional = {"PRIORITY", "GROUP", "CAP"}
    with_ids = (whole, short, _without(short, 3, 4, 5, 6), _without(short, 3, 4, 5, 6, 7))
    return [*with_ids, *_by_ends(short, listed), short], optional


def _told(one: InstanceStatus) -> tuple[str, ...]:
    """Return an instance's row, its id left out."""
    return (
        printable(one.title),
        standing(one),
        moment(one.created_at),
        shown(one.priority),
        one.group,
        shown(one.running_max),
        counted(one.counts),
    )


def _told_in_short(one: InstanceStatus) -> tuple[str, ...]:
    """Return an instance's row for a terminal of 80 columns, where the id takes almost half."""
    return (
        printable(one.workflow) or method_of(one.definition),
        standing(one).removeprefix("running, "),
        short_moment(one.created_at),
        shown(one.priority),
        one.group,
        shown(one.running_max),
        f"{one.counts.get('completed', 0)}/{sum(one.counts.values())}",
    )


def _by_ends(form: Form, listed: Sequence[InstanceStatus]) -> tuple[Form, Form]:
    """Return the table with the ends of ids for narrow terminals, and a shorter one for the narrowest."""
    ends = Form(form.headers, [(end_of(one.instance_id), *row[1:]) for one, row in zip(listed, form.rows, strict=True)])
    return _without(ends, 4, 5, 6), _without(ends, 3, 4, 5, 6, 7)


def _without(form: Form, *places: int) -> Form:
    """Leave columns out."""
    headers, *rows = (
        [cell for place, cell in enumerate(row) if place not in places] for row in (form.headers, *form.rows)
    )
    return Form(headers, rows)


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many nodes of each kind."
)
@click.option("--all", "whole", is_flag=True, help="List all nodes, whatever --limit says.")
@asks_broker
def show(instance: str, node: str | None, limit: int, whole: bool, as_json: bool) -> None:
    """Show an instance, with what has failed and what has not ended; or one node, as `dagorama node` does.

    INSTANCE is an id, at least four of the digits that it begins or ends with, a key, or a workflow file, and NODE is
    named as there.
    """
    if node is not None:
        _show_node(instance, node, as_json=as_json)
        return
    looked_at = look_at(instance)
    found = looked_at.status
    failed, unfinished = noteworthy(looked_at, limit)
    nodes = [one.status for one in looked_at.nodes()] if whole else unfinished
    if found.workflow and not whole and not as_json:
        nodes = [one.status for one in looked_at.nodes(function="run_task", inputs=False, limit=limit)]
    history = None if sum(found.counts.values()) > ANALYZED_MAX else history_of(found, snapshots_of(looked_at))
    analysis = None if history is None else analyze(history)
    if as_json:
        fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        more = {"nodes": nodes} if whole else {}
        functions = None if analysis is None else analysis.functions
        print_json({**fields, "failed": failed, "unfinished": unfinished, "functions": functions, **more})
        return
    print_fields(
        [
            ("instance", str(found.instance_id)),
            *_named(found),
            ("state", standing(found)),
            ("priority", shown(found.priority)),
            ("group", found.group),
            ("key", found.key),
            ("tags", ", ".join(f"{name}={value}" for name, value in found.own_tags.items())),
            ("cap", shown(found.running_max)),
            ("created", moment(found.created_at)),
            ("finished", moment(found.finished_at)),
            ("deadline", moment(found.deadline_at)),
            ("nodes", counted(found.counts)),
            ("large values", _held(found)),
            *(_overview(found, analysis, history) if analysis is not None and history is not None else []),
        ]
    )
    for one in failed:
        click.echo()
        print_failure(one)
    if found.workflow:  # all of its tasks are of one function
        pass
    elif analysis is None or history is None:
        click.echo()
        print_counts(looked_at.progress().functions)
    elif history.nodes:
        click.echo()
        print_functions(analysis, history)
    if nodes:
        click.echo()
        print_nodes(nodes)


def _overview(one: InstanceStatus, analysis: Analysis, history: History) -> list[tuple[str, str]]:
    """Return an instance at one glance as fields; functions say nothing of the tasks of a workflow."""
    told = overview(analysis, history)
    return [field for field in told if field[0] != "critical"] if one.workflow else told


def _held(one: InstanceStatus) -> str:
    """Return how much the large values of an instance come to; empty for none, as with most."""
    if not one.held_bytes:
        return ""
    settings = {each.name: each.value for each in broker_settings()}
    return held_in_words(one.held_bytes, settings.get(HELD_SETTING, ""))


def _named(one: InstanceStatus) -> list[tuple[str, str]]:
    """Return the definition of an instance as fields, or the workflow that it is a run of."""
    if not one.workflow:
        return [("definition", one.definition)]
    file, description = printable(one.workflow_file), printable(one.workflow_description)
    about = [("description", description)] if description else []
    return [("workflow", printable(one.workflow)), *about, ("version", one.workflow_version), ("file", file)]


def print_nodes(nodes: Sequence[NodeStatus]) -> None:
    """Print a table of nodes."""
    headers = ("NODE", "FUNCTION", "STATE", "ATTEMPTS", "WORKER", "PROGRESS")
    told = [(one.state, str(one.attempts), one.worker, str(one.progress or "")) for one in nodes]
    rows = list(zip(nodes, told, strict=True))
    whole = Form(headers, [(str(one.node_id), labelled(one.function, one), *rest) for one, rest in rows])
    short = Form(headers, [(end_of(one.node_id), labelled(method_of(one.function), one), *rest) for one, rest in rows])
    shorter = Form(
        headers,
        [(end_of(one.node_id), labelled(one.function.rpartition(".")[2], one), *rest) for one, rest in rows],
    )
    print_table(whole, short, shorter, _without(shorter, 3), _without(shorter, 3, 4), shorter, wraps="PROGRESS")


@click.command(context_settings=HELP)
@click.argument("instance")
@click.argument("node")
@asks_broker
def node(instance: str, node: str, as_json: bool) -> None:
    """Show all there is to know of a node, with its failed attempts.

    INSTANCE and NODE are ids, or at least four of the digits that they begin or end with; INSTANCE may be a key or a
    workflow file too, and NODE what one node only has: a label, the name of a function, whole or just the method's, or
    both, as in load/orders-17.csv.
    """
    _show_node(instance, node, as_json=as_json)


def _previewed(value: ValuePreview | None) -> str:
    """Return what can be shown of a value, empty for none."""
    if value is None:
        return ""
    return printable(f"{value.type or 'a value'} of {value.bytes:,} bytes: {value.text}")


def _show_node(instance: str, node: str, *, as_json: bool) -> None:
    looked_at = find_instance(instance)
    found = looked_at.node(find_node(looked_at, node)).status
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("node", str(found.node_id)),
            ("instance", str(found.instance_id)),
            ("label", printable(found.label)),
            ("function", found.function),
            ("inputs", printable(found.inputs or "")),
            ("value", _previewed(found.value_preview)),
            ("queue", found.queue),
            ("taint", found.taint),
            ("state", found.state),
            ("worker", found.worker),
            ("attempts", str(found.attempts)),
            ("progress", str(found.progress or "")),
            ("created", moment(found.created_at)),
            ("ready", moment(found.ready_at)),
            ("started", moment(found.started_at)),
            ("took", lasting(found.duration_s)),
            ("finished", moment(found.finished_at)),
            ("retry", moment(found.retry_at)),
            ("depends on", ", ".join(map(str, found.dependency_ids))),
            ("called by", str(found.parent_id or "")),
            ("cause", str(found.cause_id or "") if found.cause_id != found.node_id else ""),
        ]
    )
    over: list[AttemptStatus | UndoneStatus] = [*found.failures, *found.undone]
    for attempt in sorted(over, key=lambda one: one.number):
        click.echo()
        print_attempt(attempt)


@click.command(context_settings=HELP)
@asks_broker
def workers(as_json: bool) -> None:
    """List the connected workers."""
    listed = list_workers()
    if as_json:
        print_json(listed)
        return
    print_table(*worker_forms(listed), wraps="OTHER VERSION OF")


def worker_forms(listed: Sequence[WorkerStatus]) -> list[Form]:
    """Return the forms of a list of workers for `print_table`."""
    rows = [
        (
            one.name,
            f"{min(one.leases, one.slots)}/{one.slots}",
            served(one),
            ", ".join(one.tolerations),
            "draining" if one.draining else "",
            ", ".join(one.unfit_functions),
        )
        for one in listed
    ]
    return [Form(("WORKER", "BUSY", "QUEUES", "TOLERATIONS", "STATE", "OTHER VERSION OF"), rows)]


@click.command(context_settings=HELP)
@asks_broker
def queues(as_json: bool) -> None:
    """List what is ready and running, by queue and taint."""
    listed = list_queues()
    if as_json:
        print_json(listed)
        return
    forms, optional = queue_forms(listed)
    print_table(*forms, optional=optional)


def queue_forms(listed: Sequence[QueueStatus]) -> tuple[list[Form], set[str]]:
    """Return the forms of a list of queues for `print_table`, and the columns that may be left out."""
    rows = [
        (
            one.queue,
            one.taint,
            str(one.ready),
            shown(one.held),
            str(one.active),
            str(one.workers),
            shown(one.running_max),
            "paused" if one.paused else "",
        )
        for one in listed
    ]
    headers = ("QUEUE", "TAINT", "READY", "HELD", "ACTIVE", "WORKERS", "CAP", "STATE")
    return [Form(headers, rows)], {"HELD", "CAP", "STATE"}


def noteworthy(instance: Instance, limit: int) -> tuple[list[NodeStatus], list[NodeStatus]]:
    """Return the first nodes that failed themselves, and the first that have not ended; read no further than that."""
    failed: list[NodeStatus] = []
    unfinished: list[NodeStatus] = []
    counts = instance.status.counts
    failed_max = min(limit, counts.get("failed", 0))
    unfinished_max = min(limit, sum(count for state, count in counts.items() if state not in ENDED))
    nodes = (one.status for one in instance.nodes())
    while len(failed) < failed_max or len(unfinished) < unfinished_max:
        one = next(nodes, None)
        if one is None:  # some ended meanwhile
            break
        if one.state == "failed" and len(failed) < limit:
            failed.append(one)
        elif one.state not in ENDED and len(unfinished) < limit:
            unfinished.append(one)
    return failed, unfinished


def standing(instance: InstanceStatus) -> str:
    """Return the state of an instance in words."""
    return f"{instance.state}, paused" if instance.paused and instance.state == "running" else instance.state


def shown(number: int | None) -> str:
    """Return a number for people, empty for none."""
    return str(number) if number else ""


def counted(counts: dict[str, int]) -> str:
    """Return how many nodes are completed, how many there are, and the states of the others."""
    rest = describe(counts)
    return f"{counts.get('completed', 0)}/{sum(counts.values())} completed{', ' if rest else ''}{rest}"


def served(worker: WorkerStatus) -> str:
    """Return in words the queues that a worker takes nodes of."""
    queues = ", ".join(worker.include_queues) or "all"
    return f"{queues} but {', '.join(worker.exclude_queues)}" if worker.exclude_queues else queues


def print_failure(node: NodeStatus) -> None:
    """Print how a node has failed; a task of a workflow by its name, and with frames of the user's only."""
    is_task = node.function.startswith(f"{WORKFLOW_RUN}.")
    named = f"{labelled(node.function, node)} ({node.node_id}) failed:"
    print_text(printable(told_failure(Node(node)) if is_task else named))
    if node.failures and not (is_task and says_all(node.failures[-1])):
        print_attempt(node.failures[-1])


def says_all(attempt: AttemptStatus) -> bool:
    """Return whether the message of a failed attempt says all: it is of a workflow's task, with no frames."""
    return attempt.type.startswith(WORKFLOW_ERRORS) and "Traceback" not in attempt.traceback


def print_attempt(attempt: AttemptStatus | UndoneStatus) -> None:
    """Print an attempt: with its traceback, or that it gave a value which is no more."""
    print_text(printable(f"attempt {attempt.number} on {attempt.worker or '?'}, {moment(attempt.ended_at)}:"))
    if isinstance(attempt, UndoneStatus):
        print_text("  it gave a value, which is no more: the node began anew")
        return
    text = printable(attempt.message if says_all(attempt) else attempt.traceback.rstrip() or str(failure_in(attempt)))
    print_text("\n".join(f"  {line}" for line in text.splitlines()))
