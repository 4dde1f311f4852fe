"""Services that tasks deploy: replaced, refused, started anew, stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from dagorama import NodeFailed
from dagorama.testing import in_process_broker
from dagorama.workflows.model import Task, Work, Workflow
from dagorama.workflows.running import start_workflow
from dagorama.workflows.services import deploying
from dagorama.workflows.services.functions import problem_of_function
from dagorama.workflows.services.records import Service, services
from dagorama.workflows.services.works import AppService, ModelService
from tests.conformance.executors import is_alive
from tests.ports import kept_port, reserved
from tests.timing import WAIT_S, until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have services of the test's own, and stop what is left."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_HEALTH_S", str(WAIT_S))
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text("import os\ndef f(x): return x + 1\ndef pid(): return os.getpid()\n")
    with in_process_broker():
        yield
    for service in services():
        service.stop()


def deploy(work: Work) -> dict[str, str]:
    """Run a workflow of one task, and return what that gives."""
    result: object = start_workflow(Workflow(name="w", tasks=(Task(id="t", work=work),))).result()["t"]
    assert isinstance(result, dict)
    return result


def asked(url: str, data: object) -> object:
    """Return the result that a model gives."""
    request = Request(url, json.dumps({"data": data}).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=WAIT_S) as response:
        return json.loads(response.read())["result"]


def test_a_model_replaces_the_one_of_its_name() -> None:
    """By its name there is one; without it each run deploys another; and two of a name cannot be replaced."""
    by_name = ModelService(name="m", file="m.py", function="f", deploy_by_name=True)
    deploy(by_name)
    told = deploy(by_name)
    assert (told["id"], asked(told["url"], [1])) == ("m", 2)
    assert [service.id for service in services()] == ["m"]
    for count in (2, 3):
        deploy(ModelService(name="m", file="m.py", function="f"))
        assert len(services()) == count
    with pytest.raises(NodeFailed, match="several models of the name 'm'"):
        deploy(by_name)
    assert all(service.runs for service in services())


def test_a_model_replaces_the_one_of_its_id() -> None:
    """A new version has another name, if it likes, and the same id."""
    deploy(ModelService(name="first", file="m.py", function="f", model_id="7"))
    deploy(ModelService(name="second", file="m.py", function="f", model_id="7"))
    assert [(service.id, service.name) for service in services()] == [("7", "second")]


def test_a_service_that_dies_is_started_anew() -> None:
    """Its keeper sees to that, at the same address."""
    url = deploy(ModelService(name="m", file="m.py", function="pid"))["url"]
    first = asked(url, [])
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)

    def is_another() -> bool:
        try:
            return asked(url, []) != first
        except OSError:
            return False

    until(lambda: not is_alive(first))
    with reserved(int(url.rstrip("/").rpartition(":")[2])):  # as it may take a while, in which others ask for ports
        until(is_another)


def test_a_service_that_never_answers_fails_and_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left."""
    monkeypatch.setenv("DAGORAMA_HEALTH_S", "0.5")
    with reserved() as port:
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(NodeFailed, match="did not answer"):
            deploy(AppService(name="a", argv=("sleep", "600")))
    assert services() == []


def test_a_service_that_ends_before_it_answers_fails_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until it should have answered, and how it ended is told; nothing of it is left."""
    monkeypatch.setattr(deploying, "ENDS_MAX", 2)
    Path("raises.py").write_text("def f(): ...\nraise OSError('no weights')\n")
    with pytest.raises(NodeFailed, match="ended with exit status 1 each time, before it answered"):
        deploy(ModelService(name="m", file="raises.py", function="f"))
    assert services() == []


@pytest.mark.parametrize(("status", "is_there"), [(401, True), (404, True), (503, False)])
def test_an_app_answers_also_where_it_refuses(status: int, is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wants a password, or has no page at its root, is there; of one that is broken the status is told."""
    monkeypatch.setattr(deploying, "_status", lambda *_: status)
    monkeypatch.setenv("DAGORAMA_HEALTH_S", "0.1")
    with reserved() as port:
        monkeypatch.setenv("PORT", str(port))
        app = AppService(name="a", argv=("sleep", "600"))
        if is_there:
            assert deploy(app)["id"] == "a"
        else:
            told = rf"did not answer at http://127.0.0.1:{port}/ within 0.1 s, but with status 503; DAGORAMA_HEALTH_S"
            with pytest.raises(NodeFailed, match=told):
                deploy(app)


def test_a_deployment_that_another_overtakes_leaves_that_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails, says why, and does not stop what is in its place."""
    monkeypatch.setenv("PORT", str(kept_port()))
    placed: list[Service] = []

    def overtake(*_: object) -> int:
        """Deploy another in its place, of which it hears no answer."""
        if not placed:
            (first,) = services()
            first.stop()
            placed.append(replace(first, deployment="another"))
            placed[0].write()
        return 200

    monkeypatch.setattr(deploying, "_status", overtake)
    with pytest.raises(NodeFailed, match="was replaced by another deployment"):
        deploy(AppService(name="a", argv=("sleep", "600")))
    assert services() == placed


def test_an_app_has_the_limits_of_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of a command, and one that there is not is refused."""
    monkeypatch.setenv("PORT", str(kept_port()))
    text = 'ulimit -n > limit; exec python3 -m http.server --bind 127.0.0.1 "$PORT"'
    deploy(AppService(name="a", argv=("sh", "-c", text), resource_limits=(("nofile", 77),)))
    assert Path("limit").read_text() == "77\n"
    monkeypatch.setenv("PORT", str(kept_port()))
    with pytest.raises(NodeFailed, match="no resource limit 'files'"):
        deploy(AppService(name="b", argv=("true",), resource_limits=(("files", 77),)))


def test_what_a_killed_deployment_has_left_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker was killed when it had made the folder, and not yet the record in it."""
    model = ModelService(name="m", file="m.py", function="f", model_id="7")
    deploy(model)
    (service,) = services()
    service.stop()
    service.folder.mkdir()
    assert services() == []
    assert asked(deploy(model)["url"], [1]) == 2


def test_the_port_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app says which port it wants, and a word that is none is refused."""
    other = deploy(ModelService(name="m", file="m.py", function="f"))
    monkeypatch.setenv("PORT", other["url"].rpartition(":")[2].rstrip("/"))
    with pytest.raises(NodeFailed, match="set PORT to another"):
        deploy(AppService(name="a", argv=("true",)))
    monkeypatch.setenv("PORT", "many")
    with pytest.raises(NodeFailed, match="no port"):
        deploy(AppService(name="a", argv=("true",)))


@pytest.mark.parametrize(
    ("file", "function", "told"),
    [
        ("missing.py", "f", "missing.py cannot be read: No such file"),
        ("broken.py", "f", r"broken.py is no Python: .* \(line 1\)"),
        ("m.py", "g", "m.py has no function 'g'"),
    ],
)
def test_a_model_that_cannot_start_leaves_the_one_before(file: str, function: str, told: str) -> None:
    """What can be seen to be wrong with a model is told before the one that it replaces is stopped."""
    before = deploy(ModelService(name="m", file="m.py", function="f", deploy_by_name=True))
    Path("broken.py").write_text("def f(:")
    with pytest.raises(NodeFailed, match=told):
        deploy(ModelService(name="m", file=file, function=function, deploy_by_name=True))
    assert asked(before["url"], [1]) == 2


def test_a_function_need_not_be_defined_to_be_found(tmp_path: Path) -> None:
    """Names that a module may have are not told to be missing, however it gets them."""
    for text in (
        "from x import f",
        "import f.g",
        "try:\n  from x import f\nexcept ImportError: f = None",
        "from x import *",
        "def __getattr__(name): ...",
        "globals()['f'] = print",
        "a, (f, b) = 1, (2, 3)",
        "if (f := print): ...",
        "class f: ...",
        "async def f(): ...",
        "def g():\n  global f\n  f = print\ng()",
        "match [print]:\n  case [f]: ...",
    ):
        (tmp_path / "found.py").write_text(text)
        assert problem_of_function(str(tmp_path / "found.py"), "f") == "", text
    (tmp_path / "found.py").write_text("class A:\n  def f(self): f = 1")
    assert "has no function 'f'" in problem_of_function(str(tmp_path / "found.py"), "f")


def test_an_app_that_cannot_start_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, and the port of somebody else, are told before the app is stopped."""
    Path("app.sh").write_text('exec python3 -m http.server --bind 127.0.0.1 "$PORT"\n')
    other = deploy(ModelService(name="m", file="m.py", function="f"))
    with reserved() as port:
        monkeypatch.setenv("PORT", str(port))
        deploy(AppService(name="a"))
        before = services()
        for argv, told in ((("missing",), "no program 'missing'"), (("./gone.sh", "x"), "no script './gone.sh'")):
            with pytest.raises(NodeFailed, match=told):
                deploy(AppService(name="a", argv=argv))
        monkeypatch.setenv("PORT", other["url"].rpartition(":")[2].rstrip("/"))
        with pytest.raises(NodeFailed, match="set PORT to another"):
            deploy(AppService(name="a"))
        assert services() == before
        assert all(service.runs for service in before)


def test_an_app_replaces_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is stopped first, so that the port is free."""
    Path("app.sh").write_text('exec python3 -m http.server --bind 127.0.0.1 "$PORT"\n')
    with reserved() as port:
        monkeypatch.setenv("PORT", str(port))
        for _ in range(2):
            assert deploy(AppService(name="a"))["url"] == f"http://127.0.0.1:{port}/"
    (app,) = services()
    assert app.runs
