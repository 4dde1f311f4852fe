"""The keeper of one job: a process of its own, which starts the command and ends all that has come of it.

It imports the standard library alone, and not even `site`, so that it starts in a few milliseconds. As a subreaper it
is given each process of the job whose parent has ended, also one that has left the job's process group: nothing of the
job is left when the keeper has no children (prctl(2), PR_SET_CHILD_SUBREAPER, which is Linux's).

The worker that follows the job holds a lock on a file. When nobody has held it for a while, the job ends.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
#: The keeper looks so often whether it is to end the job, and when nothing happens, in seconds.
LOOK_S = 0.25
#: While a job ends it looks more often.
ENDING_LOOK_S = 0.02
#: Processes that are not gone so long after SIGKILL belong to somebody else, or hang in the kernel.
GIVE_UP_S = 30.0
#: A program that is to go on is started anew after so long, and twice as long each time that it ends soon.
RESTART_S, RESTART_MAX_S = 0.5, 60.0
#: A file with the output of a program that goes on has about so many bytes at most; of a larger one the end is kept.
OUTPUT_BYTES_MAX, OUTPUT_BYTES_KEPT = 16 * 2**20, 2**20
#: Exit statuses of shells for a program that cannot be run, and for one that is not there.
NOT_RUNNABLE, NOT_FOUND = 126, 127

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; nothing happens where there is no such call."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Keeper:
    """One job, from its start to the end of its last process."""

    def __init__(self, directory: str) -> None:
        """Take the folder of the job, in which its `job.json` is."""
        self.directory = directory
        with open(self.path("job.json"), encoding="utf-8") as file:
            self.job = json.load(file)
        self.began_at = time.monotonic()
        self.pid = 0
        self.status: int | None = None  #: as `os.waitpid` gives it
        self.reason = ""  #: why it is to end: "cancelled", "overran", "orphaned", "ended"
        self.kill_at = 0.0
        self.restart_s = RESTART_S
        self.restart_at = 0.0
        self.ends = 0  #: so often a program that is to go on has ended
        self.started_at = self.began_at
        self.dropped_bytes = {"out": 0, "err": 0}
        self.alone_since: float | None = None
        self.lock: int | None = None  #: that of the follower, once the job ends for want of one

    def path(self, name: str) -> str:
        """Return the path of a file of the job."""
        return os.path.join(self.directory, name)

    def run(self) -> None:
        """Run the job to its end, and write how it ended."""
        self.start()
        while True:
            signal.sigtimedwait(_SIGNALS, ENDING_LOOK_S if self.reason else LOOK_S)
            is_empty = self.reap()
            now = time.monotonic()
            if self.job.get("restart"):
                self.shorten_output()
            if self.status is not None and not self.reason:
                self.go_on(now)
            if not self.reason:
                self.reason = self.reason_to_end(now)
                if self.reason:
                    self.kill_at = now + self.job["grace_s"]
                    self.signal_all(signal.SIGTERM)
            elif now >= self.kill_at:
                self.signal_all(signal.SIGKILL)
            if self.reason and self.status is not None and (is_empty or now >= self.kill_at + GIVE_UP_S):
                break
        self.end({"reason": self.reason, **self.outcome()})

    def go_on(self, now: float) -> None:
        """Start what is to run next, where the command has ended; without that it stays ended."""
        if self.job.get("restart"):
            self.start_again(now)

    def outcome(self) -> dict[str, object]:
        """Return how the command ended."""
        assert self.status is not None, "nothing of it is left"
        return {"status": os.waitstatus_to_exitcode(self.status)}

    def shorten_output(self) -> None:
        """Keep the end of a file with output that has grown too large, and say there how much was dropped.

        With that goes what is written just then, as with `copytruncate` of logrotate(8).
        """
        for name in ("out", "err"):
            with suppress(OSError):  # a full disk is no reason to end the program
                size = os.stat(self.path(name)).st_size
                if size <= OUTPUT_BYTES_MAX:
                    continue
                file = os.open(self.path(name), os.O_RDWR | os.O_APPEND)
                try:
                    end = os.pread(file, OUTPUT_BYTES_KEPT, size - OUTPUT_BYTES_KEPT)
                    end = end.partition(b"\n")[2] or end
                    self.dropped_bytes[name] += os.fstat(file).st_size - len(end)
                    # The program writes at the end of the file, wherever that is by then.
                    os.ftruncate(file, 0)
                    os.write(file, b"[dagorama: %d bytes of output were dropped]\n" % self.dropped_bytes[name] + end)
                finally:
                    os.close(file)

    def start_again(self, now: float) -> None:
        """Start the command anew, after a while: it has ended, and is to go on."""
        if not self.restart_at:
            if now - self.started_at > RESTART_MAX_S:
                self.restart_s = RESTART_S
            self.restart_at = now + self.restart_s
            self.restart_s = min(2 * self.restart_s, RESTART_MAX_S)
            self.ends += 1
            with suppress(OSError):  # a full disk is no reason to end it for good
                self.tell("ends.json", {"count": self.ends, **self.outcome()})
            self.signal_all(signal.SIGKILL)  # what it has left behind may hold its port
        elif now >= self.restart_at:
            self.restart_at, self.started_at, self.status = 0.0, now, None
            self.start()

    def start(self) -> None:
        """Start the command."""
        self.spawn(self.job["argv"], "out", "err")

    def spawn(self, argv: list[str], *names: str) -> None:
        """Start a program in a session of its own, with its output in the two files of these names."""
        out, err = (os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for name in names)
        nothing = os.open(os.devnull, os.O_RDONLY)
        keeper_pid = os.getpid()
        self.pid = os.fork()
        if self.pid:
            for descriptor in (out, err, nothing):  # a keeper of a service comes here again and again
                os.close(descriptor)
            return
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper_pid:  # it was killed before that
                os._exit(NOT_RUNNABLE)
            os.dup2(nothing, 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            for number in (*_SIGNALS, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            self.limit()
            os.chdir(self.job["directory"])
        except BaseException as error:
            self.fail(f"{self.job['directory']}: {getattr(error, 'strerror', None) or error}", NOT_RUNNABLE)
        program = argv[0]
        try:
            try:
                os.execvpe(program, argv, self.job["env"])
            except OSError as error:
                if error.errno != errno.ENOEXEC or "/" not in program:
                    raise
                os.execve("/bin/sh", ["sh", *argv], self.job["env"])  # as execvp(3) does
        except FileNotFoundError:
            self.fail(f"{program}: {why_not_found(program)}", NOT_FOUND)
        except BaseException as error:
            self.fail(f"{program}: {getattr(error, 'strerror', None) or error}", NOT_RUNNABLE)

    def limit(self) -> None:
        """Set the limits of the command's resources."""
        for name, most in self.job["resource_limits"]:
            number = getattr(resource, f"RLIMIT_{name.upper()}")
            hard = resource.getrlimit(number)[1]
            resource.setrlimit(number, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)

    def fail(self, message: str, status: int) -> None:
        """End the process that was to become the command, and say why."""
        os.write(2, f"{message}\n".encode(errors="backslashreplace"))
        os._exit(status)

    def reap(self) -> bool:
        """Take note of processes that have ended; return whether none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if not pid:
                return False
            if pid == self.pid:
                self.status = status

    def reason_to_end(self, now: float) -> str:
        """Return why the job is to end now; empty for no reason."""
        if self.status is not None and not self.job.get("restart"):
            return "ended"  # and what it has left behind ends, as with a container
        if os.path.exists(self.path("cancel")):
            return "cancelled"
        if self.job["timeout_s"] and now - self.began_at >= self.job["timeout_s"]:
            return "overran"
        return "orphaned" if self.is_orphaned(now) else ""

    def is_orphaned(self, now: float) -> bool:
        """Return whether nobody has followed the job for too long; then nobody may any more."""
        lock = self.follower_lock()
        if lock is None:
            self.alone_since = None
            return False
        if self.alone_since is None:
            self.alone_since = now
        if self.job["orphan_s"] is not None and now - self.alone_since >= self.job["orphan_s"]:
            self.lock = lock
            return True
        os.close(lock)
        return False

    def follower_lock(self) -> int | None:
        """Take the lock of the worker that follows; return its descriptor, None where one does, or has removed it."""
        path = self.path("follower.lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(lock).st_ino:  # else it is that of a job which was forgotten meanwhile
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        return None

    def signal_all(self, number: int) -> None:
        """Send a signal to all processes of the job, once: a second SIGTERM means "at once" to many programs."""
        found = descendants(os.getpid())
        for pid in found:
            with suppress(OSError):  # it has ended, or is somebody else's
                os.kill(pid, number)
        if not found and self.status is None:  # there is no /proc here
            with suppress(OSError):
                os.killpg(self.pid, number)

    def tell(self, name: str, told: dict[str, object]) -> None:
        """Write a file for the worker that follows, so that it is there as a whole or not at all."""
        partial = self.path(f"{name}.partial")
        # Over the room that may be kept for it, as the disk may be full by now; blanks after it are nothing in JSON.
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.replace(partial, self.path(name))

    def end(self, told: dict[str, object]) -> None:
        """Write how the job ended; where nobody is left to read it, remove the job, and the lock last of all.

        A worker that waits for the lock begins anew as soon as its file is gone. `Service.stop` removes a service.
        """
        self.tell("end.json", told)
        if self.reason == "cancelled" and not self.job.get("restart"):
            self.lock = self.follower_lock()  # the worker may have been killed meanwhile
        if self.lock is not None:
            for name in sorted(os.listdir(self.directory), key="follower.lock".__eq__):
                os.unlink(self.path(name))
            with suppress(OSError):  # the next one has begun
                os.rmdir(self.directory)


def why_not_found(program: str) -> str:
    """Say why there is no program of a name, as far as the folder that it was to begin in tells."""
    if not os.path.exists(program):
        return "there is no such program"
    if "/" in program:
        return "the program that its first line names is not there"
    return f"there is no such program; the file in this folder is ./{program}"


def descendants(pid: int) -> Sequence[int]:
    """Return all processes below one, the oldest generation first, as `/proc` has them."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # it has ended
            continue
        children.setdefault(parent, []).append(int(name))
    found = list(children.get(pid, ()))
    for one in found:  # it grows meanwhile
        found += children.get(one, ())
    return found


def main() -> None:
    """Keep the job whose folder is the first argument; the second is the descriptor of the keeper's lock."""
    os.set_inheritable(int(sys.argv[2]), False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    Keeper(sys.argv[1]).run()


if __name__ == "__main__":
    main()
