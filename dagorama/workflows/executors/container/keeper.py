"""The keeper of a container: it has the tool create, start and remove it, one step after the other.

Like the keeper of processes it is a program that imports the standard library alone. The container belongs to the tool,
and outlives a keeper that is killed: the next one finds it by its name, and reads its output from the tool's log.

A step is a program that the keeper waits for:

create   podman create ...            the image is fetched, if need be
remove   podman rm NAME               one that an earlier attempt has left, whose end was told
run      podman start --attach NAME   has the output, and ends with the container
read     podman logs NAME             the output up to now, of a container that another keeper has started
pause    sleep                        until it is read again
wait     podman wait NAME             the container is to end, and nothing else would notice
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from dagorama.workflows.executors.process.keeper import Keeper
else:  # the file beside, as importing `dagorama` would take a hundred times as long as all of this
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "process"))
    Keeper = import_module("keeper").Keeper

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
#: A tool that does not answer for so long is not there.
ANSWER_S = 60.0
#: After SIGKILL a container is gone soon; what waits for it is not needed any more after so long.
LET_GO_S = 2.0
#: Output that only the tool's log has is read so often.
READ_S = 1
#: How a container is removed, and how often that is tried: its file system may be in use for a moment.
_REMOVE, _REMOVALS = ("rm", "--force", "--volumes"), 3
#: States of containers that have not begun, and of such that have ended, by the words of podman and docker.
_FRESH, _OVER = frozenset({"created", "configured", "initialized"}), frozenset({"exited", "stopped", "dead"})
#: What a shell says of programs that are not there, and of such that cannot be run.
_NO_PROGRAM = {"no such file or directory": 127, "permission denied": 126}
#: What the tool says where something is missing, in small letters, and what to do about it.
_WAYS_OUT = {
    "no space left": "make room, as with {tool} system prune",
    "cannot connect": "start its service",
    "permission denied while trying to connect": "let the worker's user use it, or take podman",
    "init binary": "install catatonit, which podman needs to pass signals on",
}
_OF_IMAGES = ("image", "registry", "manifest", "docker://", "short-name")
_NO_IMAGE = "load it, or name one that this machine has or can fetch"


class ContainerKeeper(Keeper):
    """One container, from its creation to its removal."""

    def __init__(self, directory: str) -> None:
        """Take the folder of the job."""
        super().__init__(directory)
        self.step = ""
        self.found: dict[str, Any] | None = None  #: how the container stood before it was read
        self.is_new = bool(self.job.get("is_new"))  #: no earlier keeper was killed: what there is has had its end told
        self.asked_at: float | None = None  #: when it was killed

    @property
    def tool(self) -> str:
        """Return the program that has the containers."""
        return str(self.job["tool"])

    @property
    def name(self) -> str:
        """Return the name of the container."""
        return str(self.job["name"])

    def start(self) -> None:
        """Create the container; where that fails, it may be there already."""
        self.take("create")

    def take(self, step: str) -> None:
        """Begin with a step."""
        self.step, self.status = step, None
        if step == "read":
            for name in ("out", "err"):  # what followers were told of it stays where it was
                with suppress(FileNotFoundError):
                    os.truncate(self.path(name), 0)
        words = {
            "create": self.job["argv"],
            "remove": [self.tool, *_REMOVE, self.name],
            "run": [self.tool, "start", "--attach", self.name],
            "read": [self.tool, "logs", self.name],
            "wait": [self.tool, "wait", self.name],
            "pause": ["sleep", str(READ_S)],
        }[step]
        self.spawn(words, *(("out", "err") if step in ("run", "read") else ("id", "refused")))

    def go_on(self, now: float) -> None:
        """Take the next step; without one the job has ended."""
        if self.step == "create" and self.status == 0:
            self.take("run")
            return
        if self.step == "remove" and self.status == 0:
            self.is_new = False  # else a tool that only says so would go round for ever
            self.take("create")
            return
        if self.step != "read":
            self.found = self.look()
        step = next_step(self.step, self.found, is_new=self.is_new)
        if step:
            self.take(step)

    def look(self) -> dict[str, Any] | None:
        """Return how the container stands, as the tool has it; empty where there is none, None if it does not say."""
        asked = self.ask("container", "inspect", "--format", "{{json .State}}", self.name)
        if asked is None:
            return None
        if asked.returncode:
            return {} if b"no such container" in asked.stderr.lower() else None
        try:
            state: dict[str, Any] = json.loads(asked.stdout)
            return state if str(state["Status"]) else None
        except (ValueError, KeyError, TypeError):
            return None

    def ask(self, *words: str) -> subprocess.CompletedProcess[bytes] | None:
        """Run the tool to its end, which is soon; None where it does not come."""
        try:
            return subprocess.run(
                [self.tool, *words],
                env=self.job["env"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ANSWER_S,
                preexec_fn=_unblock,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None

    def signal_all(self, number: int) -> None:
        """Send a signal to the container. Its first process passes it on, and all others end with it."""
        if self.reason == "ended":
            return
        if number == signal.SIGKILL and self.asked_at is not None:
            if time.monotonic() >= self.asked_at + LET_GO_S:
                self.signal_client(number)
            return
        if self.step == "create":
            self.signal_client(number)
        self.ask("kill", "--signal", signal.Signals(number).name, self.name)
        if number == signal.SIGKILL:
            self.asked_at = time.monotonic()
        elif self.step in ("read", "pause"):
            self.signal_client(signal.SIGKILL)
            self.take("wait")

    def signal_client(self, number: int) -> None:
        """Send a signal to the tool, where it is at work."""
        if self.status is None:
            with suppress(OSError):
                os.kill(self.pid, number)

    def outcome(self) -> dict[str, object]:
        """Return how the container ended, after it was removed."""
        found = self.look()
        if self.step == "wait":
            self.take("read")
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        told = self.told_end(found)
        if found != {}:
            if not _is_over(found):
                self.ask("kill", "--signal", "SIGKILL", self.name)
            for _ in range(_REMOVALS):
                asked = self.ask(*_REMOVE, self.name)
                if asked is None or not asked.returncode:
                    break
        return told

    def told_end(self, found: dict[str, Any] | None) -> dict[str, object]:
        """Return the exit status of a container, and what was wrong with it."""
        if self.step in ("create", "remove"):
            return {"status": 1, "problem": self.refusal("refused")}
        if not found:
            gone = "lost its container: somebody has removed it, or its tool does not answer"
            return {"status": 1, "problem": gone}
        if found["Status"] in _FRESH:
            return {"status": 1, "problem": self.refusal("err")}
        status = int(found["ExitCode"])
        if found.get("OOMKilled"):
            return {"status": status, "problem": "was killed, as it took more memory than it may"}
        status = self.status_of_shell(status)
        return {"status": status, "problem": self.how_it_ended(status)}

    def how_it_ended(self, status: int) -> str:
        """Return the end of a container for people, by its exit status; empty for a good one."""
        # Not known for sure: the tool looks at its first process alone, and that is the one which passes signals on.
        is_limited = status == 128 + signal.SIGKILL and "--memory" in self.job["argv"]
        doubt = "; perhaps it took more memory than its limit" if is_limited else ""
        return f"ended with exit status {status}{_signal_of(status)}{doubt}" if status else ""

    def refusal(self, file: str) -> str:
        """Return what the tool says in a file of why there is no container, and the way out."""
        tool = os.path.basename(self.tool)
        lines = [line.strip() for line in self.tail(file).splitlines()]
        said = next((line for line in reversed(lines) if line), "it does not say why")
        said = said.removeprefix("Error: ").removeprefix("docker: ").removeprefix("Error response from daemon: ")
        way_out = next((way for part, way in _WAYS_OUT.items() if part in said.lower()), "")
        if not way_out and any(word in said.lower() for word in _OF_IMAGES):
            way_out = _NO_IMAGE
        end = f"; {way_out.format(tool=tool)}" if way_out else ""
        return f"cannot run in a container of {self.job['image']}, as {tool} says: {said[:1000]}{end}"

    def status_of_shell(self, status: int) -> int:
        """Return the exit status, where the init of podman has not found the program that of a shell."""
        lines = self.tail("err").splitlines()
        last = lines[-1].lower() if lines and status == 1 else ""
        if last.startswith("error (catatonit") and "failed to exec" in last:
            return next((number for part, number in _NO_PROGRAM.items() if part in last), 126)
        return status

    def tail(self, name: str) -> str:
        """Return the end of a file."""
        try:
            with open(self.path(name), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


def next_step(step: str, found: dict[str, Any] | None, *, is_new: bool = False) -> str:
    """Return what comes after a step that has ended, and after which the container stood so; empty for nothing more.

    After "read" that is how it stood before. A container of a job that `is_new` is followed if it runs, and is of no
    use else: the tool has failed to remove it.
    """
    if step == "remove":  # in vain
        return ""
    if step == "create":  # in vain, but it may have been there before
        if not found:
            return ""
        is_fresh = found["Status"] in _FRESH
        if is_new and (is_fresh or _is_over(found)):
            return "remove"
        return "run" if is_fresh else "read"
    if found is None:
        return "pause"
    if not found or found["Status"] in _FRESH:  # it was removed, or cannot be started
        return ""
    if found["Status"] in _OVER:
        return "read" if step == "pause" else ""
    return "pause" if step == "read" else "read"


def _is_over(found: dict[str, Any] | None) -> bool:
    return bool(found) and found is not None and found["Status"] in _OVER


def _signal_of(status: int) -> str:
    """Return the signal that an exit status of a shell stands for, in brackets."""
    try:
        return f" ({signal.Signals(status - 128).name})" if status > 128 else ""
    except ValueError:
        return ""


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Keep the container whose folder is the first argument; the second is the descriptor of the keeper's lock."""
    os.set_inheritable(int(sys.argv[2]), False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    ContainerKeeper(sys.argv[1]).run()


if __name__ == "__main__":
    main()
