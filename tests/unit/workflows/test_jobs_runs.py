"""Runs of jobs files, from the text to the artifacts, with real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from socket import create_server

import pytest

from dagorama import Instance, InstanceFailed, LogLine, NodeFailed, attach
from dagorama.testing import in_process_broker
from dagorama.workflows import task_run
from dagorama.workflows.artifacts import artifacts
from dagorama.workflows.executors.port import Handle, JobStatus
from dagorama.workflows.executors.process.executor import ProcessExecutor
from dagorama.workflows.formats import RunOptions, load_workflow, prepare_run
from dagorama.workflows.jobs.parameters import JobsParameters
from dagorama.workflows.model import Parting
from dagorama.workflows.problems import TaskLeft, WorkflowError
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.places import OWN
from dagorama.workflows.staging.runs import ROOT_SETTING, run_path
from tests.timing import WAIT_S


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a broker in this process, and a root for runs."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    with in_process_broker():
        yield tmp_path / "runs"


def begun(folder: Path, text: str, uploads: Mapping[str, Path] | None = None) -> Instance:
    """Start a run of a jobs file in a folder, and return it when it has ended."""
    file = folder / "jobs.yaml"
    file.write_text(text)
    workflow = load_workflow(file).workflow
    started = start_workflow(workflow, prepare_run(workflow, RunOptions(uploads=uploads or {})))
    run = attach(started.instance_id)
    with suppress(InstanceFailed):
        run.wait(timeout=WAIT_S)
    return run


def saved(run: Instance) -> dict[str, bytes]:
    """Return the artifacts of a run."""
    return {each.label: bytes(each.fetch().data) for each in artifacts(run.id)}


def printed(run: Instance, job: str) -> str:
    """Return what a job has printed."""
    (node,) = [node for node in run.nodes(function="run_task") if node.label == job]
    return "\n".join(line.text for line in node.logs() if isinstance(line, LogLine))


def test_jobs_share_a_directory_and_save_files(tmp_path: Path, root: Path) -> None:
    """A job finds what those before it have left; what is saved is a value of the run, and listed by its name."""
    (tmp_path / "mine.txt").write_text("uploaded")
    run = begun(
        tmp_path,
        """
jobs:
- name: apple
  cmd: sh
  args: [-c, 'cat in/given.txt note.txt > out.txt; echo "$FRUIT"; pwd; mkdir many; echo 1 > many/1; echo 2 > many/2']
  workdir_prefix: apple
  env: {FRUIT: red apple}
  inputs:
  - {cache: mine, local: in/given.txt}
  - {content: " and noted", local: draft.txt}
  - {move: draft.txt, local: note.txt}
  outputs:
  - {local: out.txt, save: true}
  - {local: many, save: true}
  - {local: many, zip: "true"}
  - {local: missing, save: true, optional: true}
- {name: pear, cmd: cat, args: [apple/out.txt], inputs: [{local: apple/out.txt}]}
neighbors: {apple: [pear]}
""",
        {"mine": tmp_path / "mine.txt"},
    )
    assert run.result() == {"apple": ("out.txt", "many/1", "many/2", "many.zip"), "pear": ()}
    kept = saved(run)
    assert list(kept) == ["apple/out.txt", "apple/many/1", "apple/many/2", "apple/many.zip"]
    assert kept["apple/out.txt"] == b"uploaded and noted"
    assert f"red apple{root / str(run.id) / 'apple'}" == printed(run, "apple").replace("\n", "")
    assert printed(run, "pear").strip() == "uploaded and noted"
    assert run_path(str(run.id)).stat().st_mode & 0o777 == 0o700


def test_a_job_that_has_moved_a_file_can_be_run_again(tmp_path: Path, root: Path) -> None:
    """What another job has left, and a failed one has moved, is where it belongs when that is tried again."""
    run = begun(
        tmp_path,
        """
jobs:
- {name: leave, cmd: sh, args: [-c, echo left > from.txt]}
- {name: move, cmd: cat, args: [to.txt, missing.txt], inputs: [{move: from.txt, local: to.txt}]}
neighbors: {leave: [move]}
""",
    )
    assert [node.label for node in run.nodes(state="failed")] == ["move"]
    (root / str(run.id) / "missing.txt").write_text("is there now")
    run.retry()
    run.wait(timeout=WAIT_S)
    assert printed(run, "move").endswith("left\nis there now")


class Leaving(ProcessExecutor):
    """An executor that is away for a moment, once its job has begun."""

    was_left = False

    def status(self, handle: Handle) -> JobStatus:
        """Return how a job stands; let it go on once it is followed again."""
        if self.was_left:
            Path("go").touch()
        if self.was_left or not Path("begun").exists():
            return super().status(handle)
        self.was_left = True
        raise TaskLeft(task_id="a", problem="cannot be followed")


def test_a_job_that_is_followed_on_keeps_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not brought again while the command is at work with them."""
    monkeypatch.chdir(tmp_path)
    executor = Leaving()
    monkeypatch.setattr(task_run, "executor_named", lambda name, task_id: executor)
    run = begun(
        tmp_path,
        f"""
jobs:
- name: a
  cmd: sh
  args: [-c, 'echo changed > in.txt; touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do :; done; cat in.txt']
  inputs: [{{content: given, local: in.txt}}]
""",
    )
    assert run.state == "failed"
    run.retry()
    run.wait(timeout=WAIT_S)
    assert printed(run, "a").endswith("changed")


def test_a_file_that_was_never_there_is_not_moved(tmp_path: Path, root: Path) -> None:
    """That a file has the new name already makes up for a missing one only where the job itself has moved it."""
    run = begun(tmp_path, "jobs: [{name: a, cmd: 'true', inputs: [{move: from, local: to}]}]")
    (root / str(run.id) / "to").touch()
    run.retry()
    with pytest.raises(InstanceFailed, match="from is not there"):
        run.wait(timeout=WAIT_S)


def test_variables_of_jobs_are_not_shown(tmp_path: Path) -> None:
    """The environment of a job may hold a password, and its files may: nobody who looks at nodes sees them."""
    run = begun(tmp_path, "jobs: [{name: a, cmd: 'true', env: {PASSWORD: s3cret}, inputs: [{content: x, local: y}]}]")
    assert run.result() == {"a": ()}
    assert [(node.label, node.inputs) for node in run.nodes()] == [("jobs", None), ("a", None)]


def test_a_missing_output_fails_the_job_and_what_depends_on_it(tmp_path: Path) -> None:
    """A declared output that is not there fails its job, all of them named; an optional one does not."""
    run = begun(
        tmp_path,
        """
jobs:
- name: apple
  cmd: "true"
  outputs: [{local: a}, {local: b, optional: true}, {local: c, save: true}]
- {name: pear, cmd: "true"}
- {name: plum, cmd: "true"}
neighbors: {apple: [pear]}
""",
    )
    with pytest.raises(NodeFailed):
        run.result()
    states = {node.label: str(node.state) for node in run.nodes(function="run_task")}
    assert states == {"apple": "failed", "pear": "dependency_failed", "plum": "completed"}
    (failed,) = run.nodes(state="failed")
    assert failed.error is not None
    told = "the outputs a, c are not there; have the command write them, or say optional: true"
    assert told == failed.error.message


def test_a_secret_that_nobody_has_is_named(tmp_path: Path) -> None:
    """Its job fails before anything is asked for, and the way out is where the workers look for it."""
    run = begun(
        tmp_path,
        "jobs: [{name: a, cmd: x, inputs: [{origin: 'http://127.0.0.1:1/', local: in, auth: '{{NO_SUCH}}'}]}]",
    )
    (node,) = run.nodes(state="failed")
    assert node.error is not None
    assert node.error.message == (
        "the input in: the secret NO_SUCH is not known; "
        "give the workers the file NO_SUCH in DAGORAMA_SECRETS, or the variable NO_SUCH"
    )


def test_absolute_commands_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    """A command of an image is run from the folder of the file, by its interpreter where nobody has marked it, and
    what stands for it is said once, as is that images are ignored.
    """
    (tmp_path / "timer.py").write_text("import sys; print('timer', *sys.argv[1:])")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "tool.sh").write_text("#!/bin/sh\necho tool $1")
    (tmp_path / "opt" / "tool.sh").chmod(0o755)
    (tmp_path / "sh").write_text("exit 1")
    text = """
jobs:
- {name: a, cmd: /timer.py, args: [30s], image: "timer:mine"}
- {name: b, cmd: /timer.py, image: "timer:mine"}
- {name: c, cmd: /opt/tool.sh, args: [x]}
- {name: d, cmd: /bin/sh, args: [-c, echo shell]}
"""
    run = begun(tmp_path, text)
    run.result()
    assert [printed(run, job).strip() for job in "abcd"] == ["timer 30s", "timer", "tool x", "shell"]
    parameters = prepare_run(load_workflow(tmp_path / "jobs.yaml").workflow, RunOptions())
    assert isinstance(parameters, JobsParameters)
    assert (
        f"/timer.py is {tmp_path / 'timer.py'} here, for the executor process",
        f"/opt/tool.sh is {tmp_path / 'opt' / 'tool.sh'} here, for the executor process",
        "the executor process ignores the image of 'a', 'b'",
    ) == parameters.notices


def test_commands_are_looked_for_in_a_folder_that_is_named(tmp_path: Path) -> None:
    """With another folder of commands the one of the file is not looked at."""
    (tmp_path / "jobs.yaml").write_text("jobs: [{name: a, cmd: /timer.py}]")
    for folder in ("", "tools"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "timer.py").touch()
    workflow = load_workflow(tmp_path / "jobs.yaml").workflow
    parameters = prepare_run(workflow, RunOptions(commands=tmp_path / "tools"))
    assert isinstance(parameters, JobsParameters)
    assert (("/timer.py", str(tmp_path / "tools" / "timer.py")),) == parameters.commands


def test_absolute_commands_that_are_nowhere_are_told(tmp_path: Path) -> None:
    """Who has the file of another alone is told before anything runs, be it a name that no file system takes."""
    long = f"/{'x' * 5_000}"
    names = ["/bin/sh", "sh", "/opt/tool.sh", "/timer.py", *(f"/{number}" for number in range(5)), long]
    jobs = ", ".join(f"{{name: j{number}, cmd: {name}}}" for number, name in enumerate(names))
    (tmp_path / "jobs.yaml").write_text(f"jobs: [{jobs}]")
    (tmp_path / "tool.sh").touch()
    parameters = prepare_run(load_workflow(tmp_path / "jobs.yaml").workflow, RunOptions())
    assert isinstance(parameters, JobsParameters)
    assert (
        f"/opt/tool.sh is {tmp_path / 'tool.sh'} here, for the executor process",
        f"there is no /timer.py, /0, /1, /2, /3 and 2 more, neither in {tmp_path} nor on this machine: "
        "add --commands DIR",
    ) == parameters.notices


def test_very_many_commands_are_counted(tmp_path: Path) -> None:
    """Who starts a run reads a few lines about its commands, however many it has."""
    for number in range(23):
        (tmp_path / f"{number}.sh").touch()
    jobs = ", ".join(f"{{name: j{number}, cmd: /{number}.sh}}" for number in range(23))
    (tmp_path / "jobs.yaml").write_text(f"jobs: [{jobs}]")
    parameters = prepare_run(load_workflow(tmp_path / "jobs.yaml").workflow, RunOptions())
    assert isinstance(parameters, JobsParameters)
    assert parameters.notices[19].startswith("/19.sh is ")
    assert parameters.notices[20:] == (f"and so are 3 more commands, all of them in {tmp_path}",)
    assert len(parameters.commands) == 23


def test_a_job_is_told_nothing_of_others(tmp_path: Path) -> None:
    """Each gets its own uploads and program: with all of them in all, a large run would be its square in size."""
    jobs = [f"{{name: j{n}, cmd: /{n % 3}.sh, inputs: [{{cache: c{n % 2}, local: l}}]}}" for n in range(6)]
    (tmp_path / "jobs.yaml").write_text(f"jobs: [{', '.join(jobs)}, {{name: last, cmd: sh}}]")
    for name in ("0.sh", "1.sh", "c0", "c1"):
        (tmp_path / name).write_text(name)
    workflow = load_workflow(tmp_path / "jobs.yaml").workflow
    whole = prepare_run(workflow, RunOptions(uploads={name: tmp_path / name for name in ("c0", "c1")}))
    assert isinstance(whole, JobsParameters)
    parts = [task.work.part_of(whole) for task in workflow.tasks if isinstance(task.work, Parting)]
    told = [part for part in parts if isinstance(part, JobsParameters)]
    programs = [((f"/{n % 3}.sh", str(tmp_path / f"{n % 3}.sh")),) if n % 3 < 2 else () for n in range(6)]
    assert [*programs, ()] == [each.commands for each in told]
    assert [tuple(name for name, _ in each.uploads) for each in told] == [("c0",), ("c1",)] * 3 + [()]
    assert not any(each.notices for each in told)


def test_a_missing_upload_is_refused_at_submission(tmp_path: Path) -> None:
    """Who starts a run is told at once which file is missing and by which flag to give it; so for one too many."""
    (tmp_path / "jobs.yaml").write_text(
        "jobs:\n- {name: a, cmd: x}\n- {name: b, cmd: x, inputs: [{cache: one, local: l}, {cache: two, local: m}]}\n"
    )
    workflow = load_workflow(tmp_path / "jobs.yaml").workflow
    with pytest.raises(WorkflowError) as caught:
        prepare_run(workflow, RunOptions(uploads={"two": tmp_path / "none", "three": tmp_path / "jobs.yaml"}))
    told = str(caught.value)
    for part in (
        f"{tmp_path / 'jobs.yaml'}:3: job 'b' needs the upload 'one'; add --upload one=PATH",
        f"the upload 'two' cannot be read: {tmp_path / 'none'}: there is no such file",
        "no job has the upload 'three'; it has 'one', 'two'",
    ):
        assert part in told


def test_a_job_cannot_have_a_later_one_read_elsewhere(tmp_path: Path) -> None:
    """A link that a job leaves is not followed by the staging of the next, neither to read nor to write."""
    (tmp_path / "secret").write_text("secret")
    run = begun(
        tmp_path,
        f"""
jobs:
- {{name: apple, cmd: ln, args: [-s, {tmp_path}, link]}}
- {{name: reads, cmd: "true", outputs: [{{local: link/secret, save: true}}]}}
- {{name: writes, cmd: "true", inputs: [{{content: x, local: link/new}}]}}
- {{name: works, cmd: "true", workdir_prefix: link}}
neighbors: {{apple: [reads, writes, works]}}
""",
    )
    states = {node.label: str(node.state) for node in run.nodes(function="run_task")}
    assert states == {"apple": "completed", "reads": "failed", "writes": "failed", "works": "failed"}
    for node in run.nodes(state="failed"):
        assert node.error is not None
        assert "symbolic link" in node.error.message
    assert saved(run) == {}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("how", ["save", "zip"])
def test_a_link_in_a_saved_folder_fails_the_job(tmp_path: Path, how: str) -> None:
    """A link that cannot be kept is named, and so is the way out; no artifact is without it in silence."""
    run = begun(
        tmp_path,
        f"""
jobs:
- name: apple
  cmd: sh
  args: [-c, mkdir -p out/in; echo 1 > out/a; ln -s ../a out/in/link]
  outputs: [{{local: out, {how}: true}}]
""",
    )
    (node,) = run.nodes(state="failed")
    assert node.error is not None
    assert "out/in/link is a symbolic link, which is not kept; have the command put a file there" in node.error.message
    assert saved(run) == {}


def test_a_timeout_ends_the_inputs_of_a_job(tmp_path: Path) -> None:
    """A job whose origin says nothing fails when its time is over, and its command is not begun."""
    with create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        job = f"{{name: apple, cmd: sh, timeout: 1, inputs: [{{origin: '{origin}', local: given}}]}}"
        run = begun(tmp_path, f"jobs: [{job}]")
    (node,) = run.nodes(state="failed")
    assert node.error is not None
    assert node.error.message == "'apple' took longer than its timeout of 1 s to bring its inputs"


def test_a_rerun_stages_anew(tmp_path: Path) -> None:
    """A job that has failed brings its inputs again when it is run again; those that succeeded are let be."""
    run = begun(
        tmp_path,
        f"""
jobs:
- {{name: first, cmd: sh, args: [-c, "echo x >> counted"]}}
- name: second
  cmd: sh
  args: [-c, "test -e {tmp_path / "may"} && cat given"]
  inputs: [{{content: given, local: given}}]
neighbors: {{first: [second]}}
""",
    )
    with pytest.raises(NodeFailed):
        run.result()
    directory = run_path(str(run.id))
    (directory / "given").unlink()
    (tmp_path / "may").touch()
    run.retry()
    run.result(timeout=WAIT_S)
    assert (printed(run, "second").strip(), (directory / "counted").read_text()) == ("given", "x\n")
    assert os.listdir(directory / OWN) == []


def test_a_file_of_any_size_goes_through(tmp_path: Path) -> None:
    """An artifact has the bytes of its file, be they very many or none."""
    (tmp_path / "writes.py").write_text("open('big', 'wb').write(b'x' * 300_000); open('empty', 'wb')")
    text = "jobs: [{name: apple, cmd: /writes.py, outputs: [{local: big, save: true}, {local: empty, save: true}]}]"
    assert saved(begun(tmp_path, text)) == {"apple/big": b"x" * 300_000, "apple/empty": b""}
