"""Options of all tests, and what is done once for them."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from tests.containers import Shell, container_engine, import_shell
from tests.object_stores import ObjectServer, run_object_server
from tests.ports import kept_ports
from tests.transcripts import start_rewriting

#: What waits says nothing for so long, unless a test sets another time: on a busy machine workers may take longer to
#: start than the default. Less than a test may take, so that one that hangs tells what held it.
SILENCE_S = 100
#: More would collect all tests for a few files each.
PROCESSES_MAX = 8


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help="write into the transcripts of the tests what is decided now; not with -n",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have transcripts rewritten where that is asked for; give what tests start time, and a terminal's signals.

    Shells start what runs in the background with SIGINT ignored, and nohup with SIGHUP. Programs inherit that, and ours
    heed it.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    os.environ.setdefault("DAGORAMA_SILENCE_S", str(SILENCE_S))
    with kept_bytecode():
        from hypothesis import HealthCheck, settings
    # The machine may be busy: examples are not to be refused for the time that they take to be made, or to be tried.
    settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
    if config.getoption("--rewrite-transcripts"):
        config.pluginmanager.register(start_rewriting())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have two processes for each core with `-n auto`: half of the time tests wait for what they have started."""
    return min(2 * len(os.sched_getaffinity(0)), PROCESSES_MAX)


@contextmanager
def kept_bytecode() -> Iterator[None]:
    """Keep what a block imports compiled for the next run, also where PYTHONDONTWRITEBYTECODE is set.

    pytest rewrites tests, and plugins with all that is installed with them, which are hypothesis and dagorama. What
    tests start writes none there, as it goes by the variable.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the rewritten tests for the next run, which collects them in a quarter of the time."""
    with kept_bytecode():
        return (yield)


def pytest_collection_finish() -> None:
    """Keep the collected tests out of every collection of garbage that follows: each would take 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _keep_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have what is kept in the user's home, where nothing else is said, kept in a folder that goes with the tests."""
    home = tmp_path_factory.mktemp("home")
    os.environ.update(XDG_DATA_HOME=str(home / "data"), XDG_STATE_HOME=str(home / "state"))


@pytest.fixture(scope="session", autouse=True)
def _keep_ports() -> Iterator[None]:
    """Let a test that kills a broker start another on its port, whatever others listen on meanwhile."""
    with kept_ports():
        yield


@pytest.fixture(autouse=True)
def _keep_environment() -> Iterator[None]:
    """Put the environment back after each test: commands that are run in this process set variables, as theirs may."""
    before = dict(os.environ)
    yield
    # One by one: a thread of what a module has started may read it just now, or give it to a process.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@pytest.fixture(scope="session")
def moto() -> Iterator[ObjectServer]:
    """Run an object store with conditional writes."""
    with run_object_server("moto") as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[ObjectServer]:
    """Run an object store without them."""
    with run_object_server("rclone") as server:
        yield server


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Give an image with a shell, and the container engine that has it."""
    folder = tmp_path_factory.mktemp("containers")
    with container_engine() as engine:
        yield import_shell(engine, folder)


@pytest.fixture(scope="session")
def azure() -> Iterator[ObjectServer]:
    """Run an object store that speaks as Azure's."""
    with run_object_server("azure") as server:
        yield server


@pytest.fixture(scope="session")
def google() -> Iterator[ObjectServer]:
    """Run an object store that speaks as Google's."""
    with run_object_server("google") as server:
        yield server
