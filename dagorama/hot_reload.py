"""`worker-hot-reload`: a worker that starts anew when the code changes. For development, not for production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import click

from dagorama.cli.failure import CannotStart
from dagorama.cli.group import start_group, stop_group
from dagorama.cli.options import HELP, check_settings
from dagorama.cli.worker import worker
from dagorama.logging import program_log
from dagorama_broker.ending import PlainEnd

_log = program_log("worker-hot-reload")

#: Changes belong together as long as none of them is later than this after the one before.
QUIET_S = 0.3
#: How long what runs may go on when the worker is to start anew. What is not finished then is run again.
DRAIN_TIMEOUT_S = 5.0
#: How long it takes to notice that the worker ended by itself.
WATCH_INTERVAL_MS = 500
#: Events of these types are changes; others tell that a file was opened or closed.
CHANGES = frozenset({"created", "modified", "moved", "deleted"})

COMMAND = (
    "from dagorama.cli.group import end_with_parent; end_with_parent(); "
    "from dagorama.cli.worker import worker; worker.main(prog_name='worker')"
)


class FileEvent(Protocol):
    """A file event, as a handler is given: one of watchdog's observers fits too, as in dagorama 0.1."""

    @property
    def event_type(self) -> str:
        """Return the kind of change, such as "modified"."""
        ...

    @property
    def src_path(self) -> str | bytes:
        """Return the file that changed."""
        ...


class SourceChanged(NamedTuple):
    """A source file was created, modified or deleted."""

    event_type: str
    src_path: str


class EventHandler:
    """Runs a worker, and starts it anew when it is told of changes; once for all that come together.

    `close` it: until then the worker runs. It also ends when this process does, however that happens.
    """

    def __init__(self, worker_options: Sequence[str] = (), *, quiet_s: float = QUIET_S) -> None:
        """Start the worker with these options; changes less than `quiet_s` seconds apart come together."""
        self.worker_options = list(worker_options)
        #: How often the worker was started anew.
        self.restarts = 0
        self._quiet_s = quiet_s
        self._changes: SimpleQueue[FileEvent | None] = SimpleQueue()
        #: A worker that has ended by itself, which was told, or is being ended.
        self._given_up: subprocess.Popen[str] | None = None
        self.current_worker = self.new_worker()
        self._thread = threading.Thread(target=self._restart_after_changes, name="dagorama-hot-reload", daemon=True)
        self._thread.start()

    def dispatch(self, event: FileEvent) -> None:
        """Note an event and returns at once. The worker starts anew when no further change has come for a while."""
        if event.event_type in CHANGES:
            self._changes.put(event)

    def new_worker(self) -> subprocess.Popen[str]:
        """Start a worker process. Any caller but the handler itself has to end it."""
        return start_group(
            [sys.executable, "-c", COMMAND, *self.worker_options],
            # Python takes compiled code for current if the source has the same size and was written in the same second.
            environment={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                # The point of it is that the code changes, also for nodes that were made before.
                "DAGORAMA_CODE_MISMATCH": os.environ.get("DAGORAMA_CODE_MISMATCH") or "ignore",
            },
        )

    def tell_of_end(self) -> None:
        """Say, once, if the worker has ended by itself: it may have been unable to import something."""
        current = self.current_worker
        if current is not self._given_up and current.poll() is not None:
            self._given_up = current
            _log.warning("the worker ended with status %d; it starts anew when the code changes", current.returncode)

    def close(self) -> None:
        """End the worker. Its nodes may go on for 5 s."""
        self._changes.put(None)
        self._thread.join()
        self._stop()

    def _stop(self) -> None:
        self._given_up = self.current_worker
        stop_group(self.current_worker, drain_timeout_s=DRAIN_TIMEOUT_S)

    def _restart_after_changes(self) -> None:
        while (event := self._changes.get()) is not None:
            paths = {os.fsdecode(event.src_path)}
            with suppress(Empty):
                while (event := self._changes.get(timeout=self._quiet_s)) is not None:
                    paths.add(os.fsdecode(event.src_path))
            if event is None:
                return
            self._stop()
            self.current_worker = self.new_worker()
            self.restarts += 1
            _log.info("%s changed; restart %d", _shown(paths), self.restarts)


@click.command(cls=PlainEnd, context_settings=HELP)
@click.option(
    "--watch-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Start the worker anew when a Python file in this folder or below it changes.",
)
def run_hot_reload_worker(watch_dir: Path, **worker_options: object) -> None:
    """Run a worker that starts anew when the code changes: for development.

    It takes the options of `worker`, and works as that does. Changes that come together restart it once. What runs may
    go on for 5 s; what is not finished then is run again, by the new worker. Nodes of other versions of the code run
    (--code-mismatch ignore) unless another choice is made. SIGTERM and SIGINT end it, and its worker,
    with exit status 0. Exit status 3: it could not start.
    """
    check_settings()
    try:
        from watchfiles import Change, PythonFilter, watch
    except ImportError:
        raise CannotStart("hot reload needs watchfiles: pip install 'dagorama[hot-reload]'") from None
    types = {Change.added: "created", Change.modified: "modified", Change.deleted: "deleted"}
    with _told_to_stop() as stopped:
        handler = EventHandler(_words(worker_options))
        watched = watch(
            watch_dir,
            watch_filter=PythonFilter(),
            stop_event=stopped,
            rust_timeout=WATCH_INTERVAL_MS,
            yield_on_timeout=True,
        )
        is_watching = False
        try:
            for changes in watched:
                if not is_watching:  # said when it is true: before the first round nothing is watched yet
                    _log.info("watching %s", watch_dir.resolve())
                    is_watching = True
                for change, path in changes:
                    handler.dispatch(SourceChanged(types[change], path))
                handler.tell_of_end()
        finally:
            handler.close()


run_hot_reload_worker.params.extend(worker.params)


def _words(options: dict[str, object]) -> list[str]:
    """Write the worker's options as they would be typed."""
    words = []
    for parameter in worker.params:
        if not parameter.expose_value:  # such as --version, which ends the command itself
            continue
        value = options[str(parameter.name)]
        name = parameter.opts[0]
        if isinstance(value, bool):
            words += parameter.opts[:1] if value else parameter.secondary_opts[:1]
        elif value is not None:
            for part in value if isinstance(value, tuple) else (value,):
                words += [name, str(part)]
    return words


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that is set by SIGTERM and SIGINT."""
    stopped = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shown(paths: set[str]) -> str:
    """Return the names of the files that changed."""
    first, *more = sorted(os.path.relpath(path) for path in paths)
    return f"{first} and {len(more)} more" if more else first


if __name__ == "__main__":
    run_hot_reload_worker()
