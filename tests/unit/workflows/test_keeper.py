"""What keepers and executors do with the files and processes of a job, where another comes between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.port import Job, JobState, JobStatus
from dagorama.workflows.executors.process import keeper as keeper_module
from dagorama.workflows.executors.process.executor import ProcessExecutor
from dagorama.workflows.executors.process.keeper import Keeper
from dagorama.workflows.executors.process.launching import launch
from dagorama.workflows.executors.process.output import TOLD_BYTES_MAX, ProcessLogs
from dagorama.workflows.executors.process.places import jobs_folder, lock_now
from dagorama.workflows.model import Command
from dagorama.workflows.problems import TaskFailed
from tests.small_disk import DISK_BYTES, small_disk
from tests.timing import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs of a test's own."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "0.3")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Give the keeper of a job that has not begun."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"orphan_s": 0}))
    for name in ("keeper.lock", "out", "told"):
        (folder / name).touch()
    return Keeper(str(folder))


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Give a list of the files that are removed, and whether nobody else could have had the job's lock just then."""
    found: list[tuple[str, bool]] = []
    unlink = os.unlink

    def watched(path: Any, **options: Any) -> None:
        folder = next((tmp for tmp in folders() if (tmp / Path(path).name).exists()), None)
        if folder is not None:
            lock = lock_now(folder / "follower.lock")
            found.append((Path(path).name, lock is None))
            if lock is not None:
                os.close(lock)
        unlink(path, **options)

    def folders() -> list[Path]:
        return [*Path(os.environ["DAGORAMA_JOBS"]).glob("*"), Path(os.environ["DAGORAMA_JOBS"]).parent / "job"]

    monkeypatch.setattr(os, "unlink", watched)
    return found


def test_a_keeper_removes_the_lock_last(keeper: Keeper, removed: list[tuple[str, bool]]) -> None:
    """No worker takes up a job that is being removed."""
    keeper.reason, keeper.lock = "orphaned", keeper.follower_lock()
    keeper.end({"reason": "orphaned", "status": -15})
    assert not Path(keeper.directory).exists()
    assert {name for name, _ in removed} >= {"job.json", "keeper.lock", "out", "told", "end.json"}
    assert [name for name, is_held in removed if not is_held] == []
    assert removed[-1][0] == "follower.lock"


def test_a_job_that_is_to_stop_does_not_wait_for_its_follower() -> None:
    """A worker whose node is cancelled waits no more for another one that follows the job."""
    folder = jobs_folder() / "job-1"
    folder.mkdir()
    lock = lock_now(folder / "follower.lock")
    assert lock is not None
    assert _followed_until_stopped().state is JobState.CANCELLED
    os.close(lock)
    assert os.listdir(folder) == ["follower.lock"]


def test_a_job_that_is_to_stop_does_not_wait_for_the_end_of_the_one_before() -> None:
    """So it is where the job of an earlier attempt takes its time to end, which goes on to do so."""
    folder = jobs_folder() / "job-1"
    folder.mkdir()
    for name in ("job.json", "cancel"):
        (folder / name).touch()
    lock = lock_now(folder / "keeper.lock")
    assert lock is not None
    assert _followed_until_stopped().state is JobState.CANCELLED
    os.close(lock)
    assert sorted(os.listdir(folder)) == ["cancel", "follower.lock", "job.json", "keeper.lock"]
    free = lock_now(folder / "follower.lock")
    assert free is not None
    os.close(free)


def _followed_until_stopped() -> JobStatus:
    job = Job(key="job-1", workflow="w", task_id="a", run_id="r", command=Command(argv="echo 1"), env={})
    return follow(ProcessExecutor(), job, should_stop=lambda: True, tell=lambda *_: None, warn=print)


def test_a_worker_removes_the_lock_last(removed: list[tuple[str, bool]]) -> None:
    """So it is with a job whose end has been taken."""
    job = Job(key="job-1", workflow="w", task_id="a", run_id="r", command=Command(argv="echo 1"), env={})
    status = follow(ProcessExecutor(), job, should_stop=lambda: False, tell=lambda *_: None, warn=print)
    assert status.state is JobState.SUCCEEDED
    assert {name for name, _ in removed} >= {"job.json", "keeper.lock", "out", "told", "end.json"}
    assert [name for name, is_held in removed if not is_held] == []
    assert removed[-1][0] == "follower.lock"


def test_a_keeper_leaves_the_next_job_of_its_key_alone(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has opened the lock of a job that was forgotten before it could take it: the file there is another's now."""
    path = Path(keeper.directory) / "follower.lock"
    path.touch()
    opened, held = os.open, []

    def open_and_be_late(*args: Any) -> int:
        monkeypatch.setattr(os, "open", opened)
        descriptor = os.open(*args)
        path.rename(path.with_name("old"))
        held.append(lock_now(path))
        return descriptor

    monkeypatch.setattr(os, "open", open_and_be_late)
    keeper.reason = "cancelled"
    keeper.end({"reason": "cancelled", "status": -15})
    assert held[0] is not None
    assert (Path(keeper.directory) / "job.json").exists()
    os.close(held[0])


def test_a_process_gets_a_signal_once(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second SIGTERM would tell many programs to clean up no more; and one that may not be sent is none."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    keeper.pid = child.pid
    sent: list[int] = []

    def refuse(pid: int, number: int) -> None:
        sent.append(pid)
        raise PermissionError

    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, refuse)
    keeper.signal_all(signal.SIGTERM)
    monkeypatch.undo()
    child.kill()
    child.wait()
    assert sent.count(child.pid) == 1


def test_a_restarted_service_costs_no_descriptors(tmp_path: Path) -> None:
    """One that ends again and again would take its keeper with it in the end."""
    folder = tmp_path / "service"
    folder.mkdir()
    told = {"argv": ["sh", "-c", "echo >> starts"], "directory": str(tmp_path), "env": dict(os.environ)}
    never = {"timeout_s": 0, "resource_limits": [], "grace_s": 1, "orphan_s": None, "restart": True}
    process = launch(folder, {**told, **never})
    starts = tmp_path / "starts"
    until(lambda: starts.exists() and len(starts.read_text()) >= 3)
    until(lambda: count_of_null(process.pid) == 3)
    (folder / "cancel").touch()
    process.wait()


def test_a_service_is_started_anew_on_a_full_disk(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often it has ended is not to be written then."""

    def is_full(name: str, told: dict[str, object]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper, "tell", is_full)
    monkeypatch.setattr(keeper, "signal_all", lambda _: None)
    keeper.status = 0
    keeper.start_again(7.0)
    assert (keeper.ends, keeper.restart_at) == (1, 7.0 + keeper_module.RESTART_S)


def test_the_output_of_a_service_is_bounded(tmp_path: Path) -> None:
    """A program that writes and writes goes on where its file was shortened."""
    folder = tmp_path / "service"
    folder.mkdir()
    text = "yes line | head -c 20000000; until test -e more; do sleep 0.02; done; echo more; exec sleep 600"
    told = {"argv": ["sh", "-c", text], "directory": str(tmp_path), "env": dict(os.environ)}
    never = {"timeout_s": 0, "resource_limits": [], "grace_s": 1, "orphan_s": None, "restart": True}
    process = launch(folder, {**told, **never})
    out = folder / "out"
    until(lambda: out.exists() and b" bytes of output were dropped]" in out.read_bytes()[:100])
    (tmp_path / "more").touch()
    until(lambda: out.read_bytes().endswith(b"more\n"))
    assert out.stat().st_size < 20_000_000
    (folder / "cancel").touch()
    process.wait()


def test_what_is_dropped_is_told(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count has all that was dropped, also before, and whole lines are kept."""
    monkeypatch.setattr(keeper_module, "OUTPUT_BYTES_MAX", 100)
    monkeypatch.setattr(keeper_module, "OUTPUT_BYTES_KEPT", 10)
    out = Path(keeper.directory) / "out"
    out.write_bytes(b"x" * 92 + b"\nlast\nend\n")
    keeper.shorten_output()
    shortened = b"[dagorama: 93 bytes of output were dropped]\nlast\nend\n"
    assert out.read_bytes() == shortened
    out.write_bytes(shortened + b"y" * 100)
    keeper.shorten_output()
    assert out.read_bytes() == b"[dagorama: %d bytes of output were dropped]\n" % (93 + len(shortened) + 90) + b"y" * 10


def test_the_output_of_a_job_leaves_the_disk_when_it_was_told(tmp_path: Path) -> None:
    """However much it writes, no more of it is on the disk than what nobody has read yet; and all of it is told."""
    source = f"yes line | head -c 20000000; until test -e {tmp_path}/go; do sleep 0.02; done; echo end"
    job = Job(key="job-1", workflow="w", task_id="a", run_id="r", command=Command(argv=("sh", "-c", source)), env={})
    out, told = jobs_folder() / "job-1" / "out", [""]
    sizes: list[int] = []

    def tell(stream: int, text: str) -> None:
        told[0] = told[0][-10:] + text
        if told[0].endswith("line\n") and out.stat().st_size == 20_000_000 == sum(sizes, len(text)):
            assert out.stat().st_blocks * 512 < 2 * TOLD_BYTES_MAX
            (tmp_path / "go").touch()
        sizes.append(len(text))

    assert follow(ProcessExecutor(), job, should_stop=lambda: False, tell=tell, warn=print).state is JobState.SUCCEEDED
    assert (told[0][-9:], sum(sizes)) == ("line\nend\n", 20_000_004)


def test_a_job_that_fills_the_disk_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper has room for how it ended, and says that nothing else has; with no room at all none begins."""
    with small_disk(tmp_path / "disk", monkeypatch) as disk:
        if os.statvfs(disk.folder).f_blocks * os.statvfs(disk.folder).f_frsize != DISK_BYTES:
            pytest.skip("no disk may be mounted here")
        monkeypatch.setenv("DAGORAMA_JOBS", str(disk.folder / "jobs"))
        fill = f"head -c {2 * DISK_BYTES} /dev/zero > {disk.folder}/all 2> /dev/null; exit 3"
        job = Job(key="job-1", workflow="w", task_id="a", run_id="r", command=Command(argv=("sh", "-c", fill)), env={})
        status = follow(ProcessExecutor(), job, should_stop=lambda: False, tell=print, warn=print)
        told = f"no room left in {disk.folder}/jobs: make some, or set DAGORAMA_JOBS"
        assert status == JobStatus(state=JobState.FAILED, problem=f"ended with exit status 3; there is {told}")
        subprocess.run(["sh", "-c", f"cat /dev/zero >> {disk.folder}/all"], stderr=subprocess.DEVNULL, check=False)
        with pytest.raises(TaskFailed, match=f"cannot be started in {disk.folder}/jobs: .* No space left on device"):
            follow(ProcessExecutor(), job, should_stop=lambda: False, tell=print, warn=print)


def test_another_follower_goes_on_behind_what_was_freed(keeper: Keeper) -> None:
    """It tells what the one before has not; the room of that is given back, too."""
    folder = Path(keeper.directory)
    first = b"1" * (3 * TOLD_BYTES_MAX + 7)
    (folder / "out").write_bytes(first)
    for text in (first, b"2" * (2 * TOLD_BYTES_MAX)):
        logs = ProcessLogs(folder, frees=True)
        assert b"".join(piece.data for pieces in iter(logs.read, []) for piece in pieces) == text
        logs.close()
        with (folder / "out").open("ab") as file:
            file.write(b"2" * (2 * TOLD_BYTES_MAX) if text is first else b"")
    about = (folder / "out").stat()
    assert (about.st_size, about.st_blocks * 512 < 2 * TOLD_BYTES_MAX) == (5 * TOLD_BYTES_MAX + 7, True)


def count_of_null(pid: int) -> int:
    """Return how many descriptors of a process are of the empty device."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(path) == os.devnull
        except FileNotFoundError:
            continue
    return count
