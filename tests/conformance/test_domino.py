"""What only runs at Domino can do: titles that find them, states that nobody knows, servers that are away, secrets."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from dagorama.errors import BrokerUnavailable
from dagorama.workflows.executors.domino import executor as executor_module
from dagorama.workflows.executors.domino.output import RunLogs
from dagorama.workflows.executors.domino.platform import DominoRefuses
from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.port import JobState, JobStopped, Service
from dagorama.workflows.model import Command, Mount
from dagorama.workflows.problems import TaskFailed, TaskLeft
from tests.conformance.domino import KEY, PROJECT_ID, FakeDomino, FakeRun, refusal
from tests.conformance.executors import Told, job
from tests.timing import until

pytestmark = pytest.mark.timeout(300)

DominoExecutor = executor_module.DominoExecutor


@pytest.fixture(autouse=True)
def _settings(domino: FakeDomino, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs that begin in the test's folder, and a Domino."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "0.3")
    monkeypatch.delenv("DAGORAMA_HEALTH_S", raising=False)
    monkeypatch.chdir(tmp_path)


def only(domino: FakeDomino) -> FakeRun:
    """Return the only run that there is."""
    (run,) = domino.runs.values()
    return run


def away(left: dict[str, int], answer: Callable[[], Response]) -> Callable[[str], Response | None]:
    """Return what answers some requests, by what they ask for, so many times with something else."""

    def instead(what: str) -> Response | None:
        if not left.get(what):
            return None
        left[what] -= 1
        return answer()

    return instead


def test_a_run_has_title_tier_and_command_of_its_task(domino: FakeDomino) -> None:
    """The title is the task's with a mark of the key; the tier is found whatever its capitals are; words stay words."""
    executor = DominoExecutor()
    Path("x.py").write_text("print('hello')\n")
    told = Told()
    asked = replace(job(("x.py", "a b")), title="Hello  One", tier="LARGE")
    assert told.follow(executor, asked).state is JobState.SUCCEEDED
    run = only(domino).object
    assert re.fullmatch(r"Hello One \[dagorama [0-9a-f]{16}\.0\]", run["title"])
    assert (run["hardwareTierId"], told.text[1]) == ("large-k8s", "hello\n")


def test_a_tier_that_there_is_not_is_refused_with_the_choices(domino: FakeDomino) -> None:
    """Nothing is started."""
    with pytest.raises(TaskFailed, match="no hardware tier 'Huge'; there are 'Small', 'Large'"):
        DominoExecutor().submit(replace(job("true"), tier="Huge"))
    assert domino.runs == {}


@pytest.mark.parametrize(
    "missing", ["DOMINO_USER_API_KEY", "DOMINO_PROJECT_NAME", "DOMINO_PROJECT_OWNER", "DOMINO_API_HOST"]
)
def test_a_missing_setting_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the failure says; with all of them missing it names all."""
    monkeypatch.setenv(missing, "")
    with pytest.raises(TaskFailed, match=f"{missing} is not set"):
        DominoExecutor().submit(job("true"))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DOMINO_PROJECT_NAME", "../admin", r"'\.\./admin' is no name"),
        ("DOMINO_API_HOST", "domino.example", "its scheme is ''"),
        ("DOMINO_API_HOST", "http://me:secret@domino.example", "has a user or password"),
        ("DOMINO_USER_API_KEY", "secret\r\nX: y", "DOMINO_USER_API_KEY is no key"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would lead elsewhere, or break a request, is said before anything is asked; what is secret is not told."""
    monkeypatch.setenv(name, value)
    with pytest.raises(TaskFailed, match=problem) as caught:
        DominoExecutor().submit(job("true"))
    assert "secret" not in str(caught.value)


def test_a_key_that_is_not_known_is_refused_at_once(domino: FakeDomino, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure names the setting, and not its value."""
    monkeypatch.setenv("DOMINO_USER_API_KEY", "another-key")
    with pytest.raises(TaskFailed, match=r"401 .*is DOMINO_USER_API_KEY right") as caught:
        DominoExecutor().submit(job("true"))
    assert "another-key" not in str(caught.value)
    assert domino.asked == ["GET version"]


def test_a_server_that_is_too_old_for_the_client_says_so(domino: FakeDomino) -> None:
    """The client's words are the failure's."""
    domino.version = "3.5.0"
    with pytest.raises(TaskFailed, match="at least version"):
        DominoExecutor().submit(job("true"))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (Command(argv="true", image="tests:1"), "names the image 'tests:1'"),
        (Command(argv="true", mounts=(Mount(source="/a", target="/a"),)), "files of its run"),
        (Command(argv="true", directory="/elsewhere"), "files of its run"),
        (Command(argv="true", resource_limits=(("nofile", 10),)), "limits its resources"),
        (Command(argv=()), "has no command"),
    ],
)
def test_what_domino_cannot_run_is_refused(domino: FakeDomino, command: Command, problem: str) -> None:
    """Nothing of it is left out in silence."""
    with pytest.raises(TaskFailed, match=problem):
        DominoExecutor().submit(replace(job("true"), command=command))
    assert domino.asked == []


def test_words_with_variables_become_a_text(domino: FakeDomino) -> None:
    """A run has no variables of its own: they are set before the command, a script goes to its program."""
    Path("x.sh").write_text('echo "$A $1 $WORKFLOW_TASK"\n')
    told = Told()
    assert told.follow(DominoExecutor(), job(("x.sh", "a 'b'"), A="1; exit 3")).state is JobState.SUCCEEDED
    assert told.text[1] == "1; exit 3 a 'b' a\n"


def test_output_is_text_and_no_html(domino: FakeDomino) -> None:
    """What a program prints comes out as it was, tags and names of characters included; colours do not."""
    told = Told()
    told.follow(DominoExecutor(), job("""printf '<b>1 &lt; 2</b> & red\n"x"\n'"""))
    assert told.text[1] == '<b>1 &lt; 2</b> & red\n"x"\n'


def test_a_state_that_nobody_knows_counts_as_running(domino: FakeDomino) -> None:
    """It is warned of once."""
    domino.shown = {"status": "Hibernating", "isCompleted": False}
    told = Told()

    def warn(text: str) -> None:
        told.warnings.append(text)
        domino.shown = {}
        Path("go").touch()

    until_warned = job("while [ ! -e go ]; do sleep 0.05; done")
    status = follow(DominoExecutor(), until_warned, should_stop=lambda: False, tell=told.tell, warn=warn)
    assert (status.state, len(told.warnings)) == (JobState.SUCCEEDED, 1)
    assert "'Hibernating' is not known" in told.warnings[0]


def test_a_run_that_has_ended_in_a_state_that_nobody_knows_has_failed(domino: FakeDomino) -> None:
    """Nobody waits for what will never change."""
    domino.shown = {"status": "Evaporated", "isCompleted": True}
    status = Told().follow(DominoExecutor(), job("true"))
    assert (status.state, status.problem) == (
        JobState.FAILED,
        "has ended in the state 'Evaporated', which is not known",
    )


def test_a_failure_without_an_exit_status_has_the_word_of_domino(domino: FakeDomino) -> None:
    """Some servers do not tell how the container ended."""
    domino.shown = {"containerExitCode": None}
    status = Told().follow(DominoExecutor(), job("exit 3"))
    assert status.problem == "has failed: Domino says 'Failed' of its run, and no more"


def test_a_run_that_somebody_stops_has_failed(domino: FakeDomino) -> None:
    """It was not cancelled by us, and the failure says so; a next attempt starts another."""
    executor = DominoExecutor()
    handle = executor.submit(job("touch begun; exec sleep 600"))
    until(Path("begun").exists)
    only(domino).object["status"] = "StopRequested"
    (only(domino).folder / "cancel").touch()
    until(lambda: executor.status(handle).state is JobState.FAILED)
    assert "somebody else has stopped its run" in executor.status(handle).problem
    executor.leave(handle)
    assert Told().follow(DominoExecutor(), job("true")).state is JobState.SUCCEEDED
    assert len(domino.runs) == 2


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_domino_that_does_not_answer_is_asked_again(domino: FakeDomino, code: int) -> None:
    """The run goes on meanwhile; it is said once that nothing is known of it, and its output is all there."""
    left = {"GET version": 1, "GET runs": 1, "POST runs": 1, "GET run": 2, "GET stdout": 1}
    domino.instead = away(left, lambda: refusal(code, "come back later"))
    told = Told()
    status = told.follow(DominoExecutor(), job("echo >> started; echo first; sleep 0.5; echo last"))
    assert (status.state, told.text[1]) == (JobState.SUCCEEDED, "first\nlast\n")
    assert (Path("started").read_text(), set(left.values())) == ("\n", {0})
    assert told.warnings == [f"goes on unseen, as Domino does not answer: {code} come back later"]


def test_a_start_whose_answer_was_lost_is_no_second_start(domino: FakeDomino) -> None:
    """Before a run is started again, those that are there are looked through."""
    answers = iter([True])
    start = domino._start_run

    def lost(what: str) -> Response | None:
        if what == "POST runs" and next(answers, False):
            start(None, {"command": ["echo >> started"], "isDirect": True, "title": title})  # type: ignore[arg-type]
            return refusal(502, "Bad Gateway")
        return None

    # The title that it has to be found by is that of any run of the key.
    Told().follow(DominoExecutor(), job("true"))
    title = only(domino).object["title"]
    domino.runs.clear()
    domino.instead = lost
    assert Told().follow(DominoExecutor(), job("echo >> started")).state is JobState.SUCCEEDED
    assert (len(domino.runs), Path("started").read_text()) == (1, "\n")


def test_a_domino_that_is_away_for_too_long_is_given_up_and_its_run_followed_on(
    domino: FakeDomino, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt fails and says what may be there still; the next goes on with the run."""
    monkeypatch.setattr(executor_module, "AWAY_S", 0.0)
    text = "echo >> started; touch begun; while [ ! -e go ]; do sleep 0.05; done; echo done"
    domino.instead = lambda what: refusal(500, "no database") if Path("begun").exists() else None
    with pytest.raises(
        TaskLeft, match=r"not told how it stands for 0 s \(500 no database\).*`dagorama retry`, goes on"
    ):
        Told().follow(DominoExecutor(), job(text))
    domino.instead = lambda _: None
    Path("go").touch()
    told = Told()
    assert told.follow(DominoExecutor(), job(text)).state is JobState.SUCCEEDED
    assert (told.text[1], Path("started").read_text()) == ("done\n", "\n")


def test_an_answer_that_is_none_of_domino_is_as_good_as_none(domino: FakeDomino) -> None:
    """Such as the page of a proxy, whose text is told without its tags."""
    left = {"GET run": 1}
    domino.instead = away(left, lambda: PlainTextResponse("<html>\n<b>Sorry</b></html>"))
    told = Told()
    assert told.follow(DominoExecutor(), job("sleep 0.5")).state is JobState.SUCCEEDED
    assert len(told.warnings) == 1
    assert "does not answer" in told.warnings[0]


def test_a_machine_that_is_not_there_is_named_without_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the connection, in words; a task that is to stop does not wait for it."""
    monkeypatch.setattr(executor_module, "AWAY_S", 0.0)
    monkeypatch.setenv("DOMINO_API_HOST", "http://127.0.0.1:1")
    with pytest.raises(TaskLeft, match=r"Domino does not answer: ConnectionError: .*refused") as caught:
        Told().follow(DominoExecutor(), job("true"))
    assert "object at" not in str(caught.value)
    monkeypatch.setattr(executor_module, "AWAY_S", 600.0)
    assert Told().follow(DominoExecutor(), job("true"), lambda: True).state is JobState.CANCELLED


def test_the_key_is_sent_to_no_other_server(domino: FakeDomino) -> None:
    """A redirection leads nowhere, as the client would take the key along."""
    for target in ("http://localhost:1", os.environ["DOMINO_API_HOST"].replace("http:", "https:")):
        domino.instead = lambda what, to=target: RedirectResponse(f"{to}/login") if what == "GET runs" else None  # type: ignore[misc]
        with pytest.raises(TaskFailed, match=f"redirects to {target}, which the key is not for"):
            DominoExecutor().submit(job("true"))


def test_the_key_is_in_no_message_log_or_job(
    domino: FakeDomino, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even where the server sends it back; and the logging of the process is as it was."""
    handlers = list(logging.getLogger().handlers)
    told = Told()
    with caplog.at_level(logging.DEBUG):
        told.follow(DominoExecutor(), job("env"))
        domino.instead = lambda what: refusal(403, f"the key {KEY} may not") if what == "POST runs" else None
        with pytest.raises(TaskFailed, match=r"the key \*\*\* may not"):
            DominoExecutor().submit(job("true", key="job-2"))
    out, err = capfd.readouterr()
    assert KEY not in told.text[1] + caplog.text + out + err
    assert logging.getLogger().handlers == handlers


def test_an_end_that_was_taken_is_not_taken_again(domino: FakeDomino) -> None:
    """Each attempt that has ended, as the broker counts them, is a run of its own, whichever worker asks."""
    Told().follow(DominoExecutor(), job("exit 1"))
    again = replace(job("exit 1"), attempts_ended=lambda: 1)
    Told().follow(DominoExecutor(), again)
    assert [str(run.object["title"])[-2:] for run in domino.runs.values()] == ["0]", "1]"]
    # The end of the second was not taken, as far as another worker is told.
    Told().follow(DominoExecutor(), again)
    assert len(domino.runs) == 2


def test_a_broker_that_is_away_is_waited_for(domino: FakeDomino) -> None:
    """Without its word nobody knows whether an end was taken."""
    answers = iter([BrokerUnavailable(host="localhost", port=1, waited_s=0.0, detail="gone")])

    def ended() -> int:
        for error in answers:
            raise error
        return 0

    assert Told().follow(DominoExecutor(), replace(job("true"), attempts_ended=ended)).state is JobState.SUCCEEDED
    assert len(domino.runs) == 1


def test_a_worker_that_was_taken_for_dead_does_not_stop_what_another_follows(domino: FakeDomino) -> None:
    """It asks the broker, and leaves a run alone whose task goes on."""
    before, after = DominoExecutor(), DominoExecutor()
    text = "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo done"
    old = before.submit(replace(job(text), goes_on=lambda: True))
    until(Path("begun").exists)
    new = after.submit(job(text))
    with pytest.raises(TaskLeft, match="is followed by another attempt, now or soon"):
        before.cancel(old)
    before.leave(old)
    assert after.status(new).state is JobState.RUNNING
    Path("go").touch()
    until(lambda: after.status(new).state is JobState.SUCCEEDED)
    assert (len(domino.runs), "POST stop" in domino.asked) == (1, False)


def test_a_run_that_is_about_to_stop_is_waited_for(domino: FakeDomino) -> None:
    """Two of a key at once are one too many: the next begins when the one before has ended."""
    executor = DominoExecutor()
    text = "trap 'sleep 0.2; echo >> ended; exit 0' TERM; touch begun; while :; do sleep 0.05; done"
    handle = executor.submit(job(text))
    until(Path("begun").exists)
    executor.cancel(handle)
    executor.leave(handle)
    told = Told()
    assert told.follow(DominoExecutor(), job("cat ended; echo next")).state is JobState.SUCCEEDED
    assert told.text[1] == "\nnext\n"


def test_a_run_that_domino_refuses_to_tell_of_for_a_while_is_followed_on(domino: FakeDomino) -> None:
    """Such as by a gateway: no attempt is used up, and it is warned of once."""
    left = {"GET run": 3}
    domino.instead = away(left, lambda: refusal(403, "gateway says no"))
    told = Told()
    assert told.follow(DominoExecutor(), job("sleep 0.5")).state is JobState.SUCCEEDED
    assert left == {"GET run": 0}
    (warning,) = told.warnings
    assert warning.startswith("goes on unseen, as Domino refuses to tell of it: 403 gateway says no")


def test_a_task_that_is_to_stop_starts_no_run(domino: FakeDomino) -> None:
    """The questions before a start may take long."""
    status = Told().follow(DominoExecutor(), job("true"), lambda: "GET runs" in domino.asked)
    assert (status.state, domino.runs) == (JobState.CANCELLED, {})


def test_output_that_was_read_is_not_asked_for_again() -> None:
    """A Domino that is away then has nothing more to tell."""
    answers = iter(["all\n"])

    def ask() -> str:
        for answer in answers:
            return answer
        raise DominoRefuses("no")

    logs = RunLogs("1", ask)
    logs.finish(is_waited_for=True)
    assert [piece.data for piece in logs.read()] == [b"all\n"]
    assert logs.read() == []


def test_a_run_that_takes_long_to_stop_is_not_waited_for(domino: FakeDomino, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker would be ended with all that it runs. No next attempt begins before the run has stopped."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "2")
    domino.is_slow_to_stop = True
    executor = DominoExecutor()
    status = Told().follow(executor, job("touch begun; exec sleep 600"), Path("begun").exists)
    assert status.state is JobState.CANCELLED
    assert only(domino).object["status"] == "StopRequested"
    with pytest.raises(JobStopped):
        executor.submit(replace(job("true"), should_stop=lambda: True))
    assert domino.asked.count("POST runs") == 1
    (only(domino).folder / "cancel").touch()
    assert Told().follow(executor, job("true")).state is JobState.SUCCEEDED


def test_a_run_that_cannot_be_stopped_is_left(
    domino: FakeDomino, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asks for the failure of a task that was cancelled, so it is warned of as well."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "2")
    domino.instead = lambda what: refusal(503, "not now") if what == "POST stop" else None
    with pytest.raises(TaskLeft, match=r"its run \w+ at Domino could not be stopped: it may go on .*503 not now"):
        Told().follow(DominoExecutor(), job("touch begun; exec sleep 600"), Path("begun").exists)
    assert "could not be stopped: it may go on" in caplog.text


def test_a_missing_package_is_named_with_its_extra() -> None:
    """A bare install knows the executor, and says how to get it."""
    program = (
        "import sys\n"
        "sys.modules['domino'] = None\n"
        "from dagorama.workflows.executors.finding import executor_named\n"
        "executor_named('domino', 'a')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'dagorama[domino]'" in ended.stderr.splitlines()[-1]


# -- services ----------------------------------------------------------------------------------------------------------

MODEL = Service(kind="model", task_id="m", name="Adder", file="model.py", function="predict")


def deployed(service: Service) -> dict[str, str]:
    """Deploy a service that nobody cancels."""
    return DominoExecutor().deploy(service, lambda: False)


def test_a_model_is_published_and_replaced_by_its_name_or_id(domino: FakeDomino) -> None:
    """Without a name or an id to go by it is another model each time; each is waited for until it runs."""
    Path("model.py").write_text("")
    first = deployed(MODEL)
    assert deployed(replace(MODEL, id=first["id"]))["id"] == first["id"]
    assert deployed(replace(MODEL, by_name=True))["id"] == first["id"]
    assert [len(model["versions"]) for model in domino.models.values()] == [3]
    assert deployed(MODEL)["id"] != first["id"]
    with pytest.raises(TaskFailed, match="there are several models of the name 'Adder': "):
        deployed(replace(MODEL, by_name=True))
    with pytest.raises(TaskFailed, match="404 there is no such model"):
        deployed(replace(MODEL, id="gone"))


def test_a_model_has_the_environment_that_it_names(
    domino: FakeDomino, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """By its id or its name; without one it is the first global one, with a warning, and each state is printed."""
    Path("model.py").write_text("")
    for named in ("Own", "6519f7d2c507a51d7d5c3876", ""):
        deployed(replace(MODEL, environment=named))
    built = [model["versions"][0]["environmentId"] for model in domino.models.values()]
    assert built == ["6519f7d2c507a51d7d5c3876", "6519f7d2c507a51d7d5c3876", "63629f9823381b6c3b43ab39"]
    assert "is starting\n" in capfd.readouterr().out
    with pytest.raises(TaskFailed, match="no environment 'Other'; there are 'Own', 'Standard'"):
        deployed(replace(MODEL, environment="Other"))


def test_a_model_whose_image_cannot_be_built_has_failed(domino: FakeDomino) -> None:
    """Its deployment would never run."""
    with pytest.raises(TaskFailed, match=r"its model 'Adder' \(\w+\) is failed: Domino shows why"):
        deployed(MODEL)


def test_an_app_is_stopped_and_started_anew(domino: FakeDomino) -> None:
    """The project has one; it has the tier of its task, and no command but that of the project."""
    app = Service(kind="app", task_id="a", name="Page", tier="large")
    first, second = deployed(app), deployed(app)
    assert first["id"] == second["id"]
    assert domino.asked.count("POST app stop") == 1
    assert domino.apps[first["id"]]["hardwareTierId"] == "large-k8s"
    with pytest.raises(TaskFailed, match="leave its command out"):
        deployed(replace(app, argv=("other.sh",)))


def test_an_app_that_stops_while_it_starts_has_failed(domino: FakeDomino) -> None:
    """It would be waited for as long as an image may take."""
    states = iter(["Pending", "Stopped"])
    told = {"id": "1", "projectId": PROJECT_ID}

    def instead(what: str) -> Response | None:
        return JSONResponse({**told, "status": next(states, "Stopped")}) if what == "GET app" else None

    domino.instead = instead
    with pytest.raises(TaskFailed, match="is stopped: Domino shows why"):
        deployed(Service(kind="app", task_id="a", name="Page"))


def test_a_service_that_does_not_come_to_run_is_given_up(domino: FakeDomino, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `DAGORAMA_HEALTH_S`, in the state that it is in."""
    monkeypatch.setenv("DAGORAMA_HEALTH_S", "0")
    with pytest.raises(TaskFailed, match="does not run after 0 s, and is pending"):
        deployed(Service(kind="app", task_id="a", name="Page"))
