"""One instance from start to end, on a broker and workers of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from inspect import iscoroutine
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TypeAlias, TypeVar
from uuid import UUID

import click

from dagorama import Instance, attach, instances
from dagorama.cli.crew import crew
from dagorama.cli.failure import CalledWrongly, CannotStart, Failed
from dagorama.cli.progress import COUNT_S, LiveProgress
from dagorama.cli.target import Arguments, Target
from dagorama.client.status import InstanceStatus, NodeStatus
from dagorama.definition import DAGInstance
from dagorama.ended import HOOKS_PREFIX
from dagorama.errors import BrokerRefused, BrokerUnavailable, DagoramaError, ResultTimeout
from dagorama.instance.handle import id_of
from dagorama.logging import printable
from dagorama.settings import should_run_inline

T = TypeVar("T")

#: How long ready nodes may wait while nothing runs, before it is looked into whether any worker may run them. A busy
#: broker may be a second late in failing those that have a shorter `start_timeout`.
IDLE_S = 5.0
#: So long the hooks of an instance are waited for; after 10 s the log would say what holds them.
HOOKS_S = 8.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that a target is run with."""

    workers: int
    concurrency: int
    storage: str
    tolerations: tuple[str, ...]
    #: Whether lines of nodes begin with the names of these.
    log_names: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of an instance that gave a value."""

    value: object
    #: Nodes that failed and that the value does not depend on.
    failed: list[NodeStatus]


@dataclass(frozen=True, kw_only=True)
class House:
    """The processes that a target is run with."""

    broker: subprocess.Popen[bytes]
    workers: subprocess.Popen[str]

    def no_answer(self, error: DagoramaError) -> CannotStart:
        """Return why the broker does not answer: nobody can start one again that has ended."""
        status = self.broker.poll()
        return CannotStart(str(error) if status is None else str(Ended("broker", status)))


@dataclass(frozen=True)
class Ended:
    """The broker, or all workers, are gone, so nothing more will happen."""

    what: str
    status: int

    def __str__(self) -> str:
        """Say so."""
        return f"the {self.what} ended with status {self.status}"


Happening: TypeAlias = InstanceStatus | Ended | DagoramaError


def execute(target: Target, arguments: Arguments, settings: Settings, progress: LiveProgress) -> Outcome:
    """Start a broker and workers, runs the target until nothing of it is left to run, and stops them.

    Raises `Failed` when there is no value, `CannotStart` and `CalledWrongly`. Inline it starts nothing, and a node's
    exception comes out as it is.
    """
    if should_run_inline():
        with redirect_stdout(sys.stderr):
            return Outcome(value=start(target, arguments).result(), failed=[])
    with house(target.folder, settings, progress) as running:
        try:
            started = start(target, arguments)
            instance = attach(UUID(bytes=id_of(started)))
            follow(instance, running, _drawn(instance, progress), settings.tolerations)
            wait_for_hooks(instance)
            value = started.result()
            failed = [node.status for node in instance.nodes(state="failed", inputs=False)]
        except (BrokerUnavailable, BrokerRefused) as error:
            raise running.no_answer(error) from None
        except DagoramaError as error:
            raise Failed(str(error)) from None
    return Outcome(value=value, failed=failed)


@contextmanager
def house(folder: Path | None, settings: Settings, progress: LiveProgress) -> Iterator[House]:
    """Run a broker and workers for the block, which find modules in `folder` first, if there is one.

    Raises `CannotStart` and `CalledWrongly`.
    """
    from dagorama_broker.launch import BrokerNotStarted, launch_broker

    with ExitStack() as stack:
        try:
            broker = stack.enter_context(launch_broker(port=0, storage=settings.storage))
        except BrokerNotStarted as error:
            kind = CalledWrongly if error.status == CalledWrongly.exit_code else CannotStart
            raise kind(f"the broker could not be started: {error}") from None
        workers = stack.enter_context(
            crew(
                folder,
                processes=settings.workers,
                concurrency=settings.concurrency,
                tolerations=settings.tolerations,
                log_names=settings.log_names,
                show=progress.show if progress.live else None,
            )
        )
        try:
            left = sum(1 for _ in instances(state="running"))
        except (BrokerUnavailable, BrokerRefused) as error:
            raise CannotStart(str(error)) from None
        if left:
            what = "an instance" if left == 1 else f"{left} instances"
            progress.show(f"{settings.storage} has {what} that had not ended: what is older is run first")
        yield House(broker=broker.process, workers=workers)


def _drawn(instance: Instance, progress: LiveProgress) -> Callable[[InstanceStatus], None]:
    """Return a function that draws the progress of an instance, given how it stands."""
    count_at = 0.0

    def draw(status: InstanceStatus) -> None:
        nonlocal count_at
        progress.update(status.counts)
        if progress.live and monotonic() >= count_at:
            progress.update_functions(instance.progress().functions)
            count_at = monotonic() + COUNT_S

    return draw


def start(target: Target, arguments: Arguments) -> DAGInstance[object]:
    """Start an instance; the entrypoint may be an ordinary or an async function."""
    started: object = target.definition(*arguments.args, **arguments.kwargs)
    if iscoroutine(started):
        started = asyncio.run(_awaited(started))
    assert isinstance(started, tuple)
    instance: DAGInstance[object] = started[0]
    return instance


async def _awaited(started: Awaitable[T]) -> T:
    return await started


def follow(
    instance: Instance,
    running: House,
    show: Callable[[InstanceStatus], None],
    tolerations: Sequence[str],
) -> None:
    """Wait until no node of the instance is left to run, and `show` each change; raise when that can't come to be.

    It waits for the whole instance, not for its value only: nodes that nobody waits for are run as well.
    """
    happenings: SimpleQueue[Happening] = SimpleQueue()
    Thread(target=_watch_instance, args=(instance, happenings.put), daemon=True).start()
    for what, process in (("broker", running.broker), ("workers", running.workers)):
        Thread(target=_watch_process, args=(what, process, happenings.put), daemon=True).start()
    idle = False
    while True:
        try:
            happening = happenings.get(timeout=IDLE_S if idle else None)
        except Empty:
            refuse_what_cannot_run(instance, tolerations)
            idle = False
            continue
        if isinstance(happening, DagoramaError):
            raise happening
        if isinstance(happening, Ended):
            raise CannotStart(str(happening))
        show(happening)
        if happening.state != "running":
            return
        idle = "ready" in happening.counts and happening.counts.keys().isdisjoint({"leased", "started", "backoff"})


def wait_for_hooks(instance: Instance) -> None:
    """Wait for the hooks of an instance that has ended, `HOOKS_S` seconds at most, and say what is not done then."""
    definition = f"{HOOKS_PREFIX}{instance.status.definition}"
    for hooks in instances(definition=definition, tags={"instance": str(instance.id)}):
        told = "what is done at its end, such as an exit notice, is not done"
        try:
            hooks.wait(HOOKS_S)
        except ResultTimeout as error:
            last = str(error.why).splitlines()[-1].strip() if error.why else "nobody knows why"
            click.echo(printable(f"{told} within {HOOKS_S:g} s, and not waited for: {last}"), err=True)
        except DagoramaError as error:
            click.echo(printable(f"{told}: {error}"), err=True)


def _watch_instance(instance: Instance, tell: Callable[[Happening], None]) -> None:
    try:
        for status in instance.changes():
            tell(status)
    except DagoramaError as error:
        tell(error)


def _watch_process(
    what: str, process: subprocess.Popen[bytes] | subprocess.Popen[str], tell: Callable[[Happening], None]
) -> None:
    tell(Ended(what, process.wait()))


def refuse_what_cannot_run(instance: Instance, tolerations: Sequence[str]) -> None:
    """Raise `CalledWrongly` if no worker here tolerates the taint of any ready node: they would wait for ever."""
    ready = list(instance.nodes(state="ready", inputs=False))
    taints = {node.taint for node in ready}
    if taints and taints.isdisjoint({"", *tolerations}):
        names = ", ".join(sorted({node.label or node.function for node in ready}))
        options = " ".join(f"--toleration {taint}" for taint in sorted(taints))
        raise CalledWrongly(f"no worker here may run {names}: add {options}")
