"""A broker for as long as a block of code lasts: for tests, for samples, for `dagorama run`."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

from dagorama.common.starting import own_python

_STOP_TIMEOUT_S = 10.0


class BrokerNotStarted(RuntimeError):
    """The broker's process ended before it was ready; the message is what it said, `status` its exit status."""

    def __init__(self, message: str, status: int = 3) -> None:
        """A status of 2 is that of an option or a setting that cannot be used, 3 of anything else."""
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class LaunchedBroker:
    """A broker that runs as a process of its own."""

    host: str
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def target(self) -> str:
        """Its address as host:port."""
        return f"{self.host}:{self.port}"


def launch_broker(
    port: int = 50051, *, storage: str = "memory:", environment: Mapping[str, str] | None = None
) -> AbstractContextManager[LaunchedBroker]:
    """Run a broker as a process; it is ready when the block is entered and gone, its port free, when it is left.

    `port=0` picks a free one. `storage` is the URL of its storage; the default is fresh and empty. `environment` has
    further settings for it. Inside the block DAGORAMA_HOST and DAGORAMA_PORT of this process name the broker, so that
    definitions and workers started here find it. The broker also ends when this process does, however that happens.

    Raises `BrokerNotStarted` with the reason where it cannot start, such as a port that is taken.
    """
    return _UntilLeft(_launched(port, storage, environment or {}))


class _UntilLeft(AbstractContextManager[LaunchedBroker]):
    """Keeps a broker that was entered and not left, as in a notebook's cell, to the end of the program."""

    _entered: ClassVar[set["_UntilLeft"]] = set()

    def __init__(self, inner: AbstractContextManager[LaunchedBroker]) -> None:
        self._inner = inner

    def __enter__(self) -> LaunchedBroker:
        broker = self._inner.__enter__()
        self._entered.add(self)
        return broker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._entered.discard(self)
        return self._inner.__exit__(kind, error, traceback)


@contextmanager
def _launched(port: int, storage: str, environment: Mapping[str, str]) -> Iterator[LaunchedBroker]:
    """Run a broker as a process, as `launch_broker` says."""
    _check_is_no_import()
    ready_read, ready_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    command = [*own_python(), "-m", "dagorama_broker", "--host", "localhost", "--port", str(port)]
    command += ["--storage", storage, "--log-level", "warning"]
    command += ["--ready-fd", str(ready_write), "--lifeline-fd", str(lifeline_read)]
    process = subprocess.Popen(
        command,
        env={**_inherited(), **environment},
        pass_fds=(ready_write, lifeline_read),
        # Ctrl-C is for the program in front; the broker ends after it, through the lifeline.
        start_new_session=True,
    )
    os.close(ready_write)
    os.close(lifeline_read)
    try:
        with os.fdopen(ready_read) as ready:
            kind, _, said = ready.read().partition(" ")
        if kind != "ready":
            status = process.wait()
            raise BrokerNotStarted(said or f"the broker's process ended with status {status}", status)
        host, bound = said.split()
        broker = LaunchedBroker(host, int(bound), process)
        with _environment({"DAGORAMA_HOST": broker.host, "DAGORAMA_PORT": str(broker.port)}):
            yield broker
    finally:
        os.close(lifeline_write)
        _wait(process)


def _inherited() -> dict[str, str]:
    """Return the environment for a broker of this program. A port for metrics there is meant for another process."""
    return {name: value for name, value in os.environ.items() if name != "DAGORAMA_METRICS_PORT"}


def _check_is_no_import() -> None:
    """Raise `BrokerNotStarted` where multiprocessing imports the program: each of its processes would have a broker."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and getattr(processes.current_process(), "_inheriting", False):
        raise BrokerNotStarted(
            "launch_broker() is called while this process only imports the program, as each process does that the "
            'program starts; put what the program does below `if __name__ == "__main__":`'
        )


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
