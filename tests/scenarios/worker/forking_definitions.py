"""Nodes that fork, in every way in which people do."""

import asyncio
import atexit
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.retry import StaticRetry

FORK = multiprocessing.get_context("fork")


def square(x: int) -> int:
    """Squares."""
    return x * x


def forked(child: Callable[[], object]) -> int:
    """Returns how a forked child ends that does not end by itself."""
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def handlers() -> bool:
    """Tells whether signals are as in an ordinary program."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    found = [signal.getsignal(number) for number in numbers]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    is_plain = found == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
    return is_plain and not blocked.intersection(numbers) and signal.set_wakeup_fd(-1) == -1


def connections() -> list[Any]:
    """Returns the addresses on the network of all that a process is connected to."""
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            connection = socket.socket(fileno=int(name))
        except OSError:
            continue
        try:
            found.append(connection.getpeername())
        except OSError:
            pass
        finally:
            connection.detach()
    return [address for address in found if isinstance(address, tuple)]


def descriptors() -> int:
    """Returns how many there are once no more are closed: what children wrote is read to its end by a thread."""
    gc.collect()
    least, seen = len(os.listdir("/dev/fd")), 0
    while seen < 20:
        time.sleep(0.01)
        now, seen = len(os.listdir("/dev/fd")), seen + 1
        if now < least:
            least, seen = now, 0
    return least


def run_a_program(lifeline: Path) -> int:
    """Runs a program that has the lifeline open, and one that it starts, too."""
    with lifeline.open("a") as end:
        return subprocess.run(["sh", "-c", "echo open; sleep 60 & sleep 60"], stdout=end, check=False).returncode


class Forking(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    @dagorama().syncfn
    def pid(self) -> int:
        return os.getpid()

    @dagorama().syncfn
    def each_way(self, rounds: int) -> list[object]:
        """Forks in every way, again and again; gives what was wrong, and what is left open."""
        self.one_round()
        before, wrong = descriptors(), []
        for _ in range(rounds):
            wrong += [name for name, is_right in self.one_round().items() if not is_right]
        until = time.monotonic() + 20
        while (left := descriptors() - before) > 0 and time.monotonic() < until:
            pass
        return [*wrong, max(left, 0), multiprocessing.active_children()]

    def one_round(self) -> dict[str, bool]:
        with FORK.Pool(1) as pool:
            by_pool = pool.map(square, range(3))
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=FORK) as executor:
            by_executor = list(executor.map(square, range(3)))
        child = FORK.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()  # at once: the child may not have got anywhere
        child.join(60)
        return {
            "pool": by_pool == [0, 1, 4],
            "executor": by_executor == [0, 1, 4],
            "terminate": child.exitcode == -signal.SIGTERM,
            "_exit": forked(lambda: os._exit(7)) == 7,
            "handlers": forked(lambda: os._exit(0 if handlers() else 1)) == 0,
            "preexec_fn": subprocess.run(["true"], preexec_fn=os.getpid, check=False).returncode == 0,
        }

    @dagorama().syncfn
    def come_back(self, how: str, trace: Path) -> Any:
        """Has the child come back out of the function."""
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        atexit.register(trace.write_text, "ended")
        if how == "exit":
            sys.exit(5)
        if how == "raise":
            raise ValueError("in the child")
        return "from the child"

    @dagorama().syncfn
    def peers_of_a_child(self) -> tuple[int, int]:
        """Gives how many connections the process has, and how many its child."""
        return len(connections()), forked(lambda: os._exit(len(connections())))

    @dagorama().syncfn
    def leave_a_child(self, trace: Path) -> Any:
        """Ends its process, the first time, and leaves a child that goes on, in a group of its own."""
        if not trace.exists():
            pid = os.fork()
            if pid == 0:
                os.setsid()
                time.sleep(600)
                os._exit(0)
            trace.write_text(str(pid))
            os.kill(os.getpid(), signal.SIGKILL)
        return int(trace.read_text())

    @dagorama(timeout=0.5, retry=StaticRetry(1000, 0)).syncfn
    def overrun_with_a_program(self, lifeline: Path, enough: Path) -> Any:
        """Takes too long again and again, until there is a file that says that it is enough."""
        return "enough" if enough.exists() else run_a_program(lifeline)

    @dagorama().syncfn
    def run_program(self, lifeline: Path) -> Any:
        return run_a_program(lifeline)

    @dagorama().syncfn
    def interrupt_a_program(self) -> int:
        with subprocess.Popen(["sh", "-c", "echo up; exec sleep 60"], stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            program.stdout.readline()
            program.send_signal(signal.SIGINT)
            return program.wait(60)

    # -- calls that belong to the node, from elsewhere

    @dagorama().syncfn
    def note(self, x: int) -> int:
        return x

    @dagorama(retry=StaticRetry(2, 0)).syncfn
    def noted_in_a_pool(self, method: str) -> Any:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            return list(pool.map(self.note, [1, 2, 3]))

    @dagorama().syncfn
    def started_in_a_pool(self, method: str) -> Any:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            return pool.submit(start_another).result()

    @dagorama().syncfn
    def started_in_a_thread(self) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(Other()).result()[1]

    @dagorama().syncfn
    def started_in_a_thread_of_a_thread(self) -> Any:
        raised: list[BaseException] = []

        def inner() -> None:
            try:
                Other()()
            except RuntimeError as error:
                raised.append(error)

        def outer() -> None:
            thread = threading.Thread(target=inner)
            thread.start()
            thread.join()

        thread = threading.Thread(target=outer)
        thread.start()
        thread.join()
        raise raised[0]

    @dagorama().syncfn
    def started_in_a_copy_of_the_context(self) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, Other()).result()[1]

    @dagorama().syncfn
    def noted_in_a_thread(self) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return list(pool.map(self.note, [1, 2]))


class Other(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> str:
        return "another"


def start_another() -> object:
    """Starts a definition."""
    return Other()()[1]


class ForkingAsync(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, case: str) -> Any:
        return await getattr(self, case)()

    @dagorama().asyncfn
    async def started_in_an_executor(self) -> Any:
        return (await asyncio.get_running_loop().run_in_executor(None, Other()))[1]

    @dagorama().asyncfn
    async def started_by_to_thread(self) -> Any:
        return (await asyncio.to_thread(Other()))[1]
