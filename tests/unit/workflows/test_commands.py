"""The commands for workflow files that need no broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagorama.cli.main import group
from dagorama.workflows.services.records import Service

DEMO = str(Path(__file__).parents[3] / "samples" / "control" / "demo.cfg")


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files and services of the test's own."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.delenv("DAGORAMA_TIERS", raising=False)
    monkeypatch.delenv("DAGORAMA_INLINE", raising=False)
    monkeypatch.chdir(tmp_path)


def command(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(group, list(words), prog_name="dagorama")


def written(name: str, text: str) -> str:
    """Write a file, and return its path."""
    Path(name).write_text(text)
    return name


def test_a_file_with_problems_does_not_run() -> None:
    """They are listed with their lines, by `run`, `apply`, `export` and `check`."""
    wrong = written("x.cfg", "[a]\ncommand = touch a\ndepends = b\nfoo = 1\n")
    told = ["x.cfg:3: 'a' depends on 'b', which there is not; there are 'a'", "x.cfg:4: there is no option 'foo'"]
    for words in (["run", wrong], ["apply", wrong], ["export", wrong, "--to", "mermaid"]):
        done = command(*words)
        assert done.exit_code == 2
        assert all(line.startswith(begin) for line, begin in zip(done.stderr.splitlines(), told, strict=True))
    checked = command("check", wrong)
    assert (checked.exit_code, len(checked.stdout.splitlines())) == (1, 2)
    assert '"line": 4' in command("check", wrong, "--json").stdout


def test_an_executor_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that there is not is refused, and so is a job without what the chosen one needs."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "process")
    jobs = written("jobs.json", '{"jobs": [{"name": "a", "cmd": "c"}]}')
    refused = command("run", jobs, "--executor", "contianer")
    assert (refused.exit_code, "there is no executor 'contianer'; there are container, " in refused.output) == (2, True)
    refused = command("apply", jobs, "--executor", "container")
    assert (refused.exit_code, "jobs.json:1: job 'a' has no image" in refused.output) == (2, True)


def test_uploads_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    """The missing, those that are no files, and the ones that nobody wants; a name has one file only."""
    inputs = "[{cache: one, local: l}, {cache: two, local: m}, {cache: three, local: n}]"
    jobs = written("jobs.yaml", f"jobs: [{{name: a, cmd: sh, inputs: {inputs}}}]")
    for verb in ("run", "apply"):
        refused = command(verb, jobs, "--upload", "two=nowhere", "--upload", f"three={tmp_path}", "--upload", "x=y")
        told = [
            "jobs.yaml: the upload 'two' cannot be read: nowhere: there is no such file; mend --upload two=PATH",
            f"jobs.yaml: the upload 'three' cannot be read: {tmp_path}: it is no file; mend --upload three=PATH",
            "jobs.yaml: no job has the upload 'x'; it has 'one', 'three', 'two'",
            "jobs.yaml:1: job 'a' needs the upload 'one'; add --upload one=PATH",
        ]
        assert (refused.exit_code, refused.stderr.splitlines()[-4:]) == (2, told)
    refused = command("run", jobs, *(word for path in "pqr" for word in ("--upload", f"one={path}")))
    assert (refused.exit_code, "there are several of --upload one=PATH\n" in refused.stderr) == (2, True)


def test_an_executor_is_for_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A definition would run without it, and nobody would be told."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "process")
    refused = command("run", written("without_a_dag_for_an_executor.py", "x = 1\n"), "--executor", "container")
    assert (refused.exit_code, "--executor are for workflows, and this is none" in refused.output) == (2, True)


def test_warnings_are_problems_when_strict() -> None:
    """A slip is told of, and refused strictly."""
    slip = written("y.cfg", "[a]\ncommand = touch a\ntitle One\n")
    done = command("check", slip)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "y.cfg is right (one task)")
    assert "y.cfg:3: warning: " in done.stdout
    assert command("check", slip, "--strict").exit_code == 1
    assert command("run", slip, "--strict").exit_code == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["run", DEMO, "7"], "no arguments"),
        (["run", DEMO, "--upload", "a"], "NAME=PATH"),
        (["run", DEMO, "--upload", f"a={DEMO}"], "no uploads"),
        (["run", "nowhere.cfg"], "no such file"),
        (["run", "nowhere.py", "--strict"], "no file 'nowhere.py'"),
        (["run", "without_a_dag_to_run.py", "--strict"], "for workflows, and this is none"),
        (["check", "without_a_dag_to_check.py", "--strict"], "for workflows, and this is none"),
    ],
)
def test_options_that_do_not_fit_are_refused(words: list[str], problem: str) -> None:
    """They are for workflows, or for definitions."""
    if words[1].startswith("without_a_dag"):
        written(words[1], "x = 1\n")
    done = command(*words)
    assert done.exit_code in (1, 2)
    assert problem in done.output


def test_a_workflow_does_not_run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs are followed by workers."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")
    done = command("run", DEMO)
    assert done.exit_code == 2
    assert "DAGORAMA_INLINE" in done.output


def test_it_is_written_in_other_formats() -> None:
    """What can be written is on standard output, alone."""
    done = command("export", DEMO, "--to", "mermaid")
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (0, ["flowchart TD", '    t1["Hello One"]'])
    again = command("export", DEMO, "--to", "ini").stdout
    assert "cron_string = 0 0/20 0 ? * SUN,MON,TUE,WED,THU,FRI *" in again.splitlines()


def test_a_cron_string_is_explained() -> None:
    """In words, with the next times, and the doubts."""
    done = command("cron", "explain", "* 0/20 0 ? * SUN,MON,TUE,WED,THU,FRI *", "--count", "2")
    lines = done.stdout.splitlines()
    assert (done.exit_code, len(lines)) == (0, 3)
    assert lines[0] == "every second of minutes 0, 20 and 40 of hour 0, except Saturdays"
    assert "probably meant" in done.stderr
    assert "never" in command("cron", "explain", "0 0 30 2 *").stderr
    assert command("cron", "explain", "* *").exit_code == 2
    assert command("cron", "explain", "30", "6", "*", "*", "1").stdout.startswith("at 06:30 on Mondays\n")


def service(service_id: str, name: str) -> Service:
    """Write down a service that does not run."""
    made = Service(
        kind="model", id=service_id, name=name, description="", port=1, run_id="r", task_id="t", deployment="d"
    )
    made.write()
    return made


def test_services_are_listed_and_stopped() -> None:
    """By id, or by a name that only one of them has; one whose keeper was killed is listed as such."""
    for service_id, name in (("a-1", "a"), ("a-2", "a"), ("b", "c")):
        service(service_id, name)
    listed = command("services").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["a-1", "a-2", "b"]
    assert all(line.endswith("was killed") for line in listed[1:])
    assert command("services", "stop", "c").exit_code == 0
    assert command("services", "stop", "a").exit_code == 4
    assert command("services", "stop", "a-1").exit_code == 0
    assert command("services", "stop", "a-1").exit_code == 4
    assert len(command("services").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"count": 1, "status": 3}, "once (exit status 3)"),
        ({"count": 7, "status": -9}, "7 times (was killed by SIGKILL)"),
    ],
)
def test_a_service_that_ends_again_and_again_is_listed_as_such(told: dict[str, int], state: str) -> None:
    """It is started anew each time, and would else look well."""
    (service("a-1", "a").folder / "ends.json").write_text(json.dumps(told))
    assert command("services").stdout.splitlines()[1].endswith(f"was killed, ended {state}")


def test_the_output_of_a_service_is_printed() -> None:
    """Both streams, without what a terminal would heed; one that has printed nothing yet is a service, too."""
    folder = service("a-1", "a").folder
    assert command("services", "logs", "a").output == ""
    (folder / "out").write_bytes(b"one\x1b[31m\n")
    (folder / "err").write_bytes(b"two \xff\n")
    done = command("services", "logs", "a-1")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "one\\x1b[31m\n", "two \\xff\n")
    assert command("services", "logs", "b").exit_code == 4
