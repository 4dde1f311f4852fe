"""DAGs of operators: what `>>` writes, what is refused, and what becomes of options and arguments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from dagorama.errors import NodeStopped
from dagorama.workflows.formats import write_workflow
from dagorama.workflows.model import Command, Task, TaskRun
from dagorama.workflows.operators import (
    DAG,
    BashOperator,
    FileSensor,
    HttpOperator,
    HttpSensor,
    Operator,
    PythonOperator,
    WorkflowError,
)
from dagorama.workflows.operators.calls import Call, ValueOf, call, make_call
from dagorama.workflows.operators.sensors import missing_file, wait_until
from dagorama.workflows.problems import TaskFailed, TaskLeft


def echo(name: str, **options: Any) -> BashOperator:
    """Make an operator that prints its name."""
    return BashOperator(name, f"echo {name}", **options)


def anything(value: Any) -> Any:
    """Return a value as programs without types have it."""
    return value


async def waits() -> None:
    """Do nothing."""


def depends(dag: DAG) -> dict[str, tuple[str, ...]]:
    """Return what each task of a DAG depends on."""
    return {task.id: task.depends for task in dag.load().workflow.tasks}


def only(make: Callable[[], Operator], **of_dag: Any) -> Task:
    """Return the task of a DAG with one operator."""
    with DAG("one", **of_dag) as dag:
        make()
    (task,) = dag.load().workflow.tasks
    return task


def refused(write: Callable[[], object], **of_dag: Any) -> list[str]:
    """Return the lines of the error that a DAG gives, without the name of this file."""
    with pytest.raises(WorkflowError) as caught, DAG("wrong", **of_dag):
        write()
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{__file__}:") for line in lines)
    return [re.sub(r":(\d+:)? ", "", line.removeprefix(__file__), count=1) for line in lines]


def test_arrows_write_edges() -> None:
    """Each way of writing an edge has the same meaning, and what stands on the right goes on."""
    with DAG("arrows") as dag:
        a, b, c, d, e, f, g = (echo(name) for name in "abcdefg")
        a >> [b, c] >> d << [e, f] << g
        [a, b] >> g
        [d] << a
        a >> b
    assert depends(dag) == {
        "a": (),
        "b": ("a",),
        "c": ("a",),
        "d": ("b", "c", "e", "f", "a"),
        "e": ("g",),
        "f": ("g",),
        "g": ("a", "b"),
    }


def test_a_value_in_the_arguments_is_an_edge() -> None:
    """An operator stands for its value wherever it is in lists, tuples and dicts, and is waited for."""
    with DAG("values") as dag:
        a, b, c = (PythonOperator(name, lambda: 1) for name in "abc")
        PythonOperator("d", lambda *args, **kwargs: (args, kwargs), [1, [a]], {"x": {"y": (b, "z")}, "c": c})
    work = dag.load().workflow.task("d").work
    assert depends(dag)["d"] == ("a", "b", "c")
    assert isinstance(work, Call)
    assert work.values == ("a", "b", "c")
    known: dict[object, object] = {ValueOf("a"): "A", ValueOf("b"): None, ValueOf("c"): [0]}
    assert call(work.packed, known) == ((1, ["A"]), {"x": {"y": (None, "z")}, "c": [0]})


def test_options_are_those_of_the_task() -> None:
    """Its own options go before those of its DAG; times may be timedeltas."""
    defaults = {"retries": 2, "retry_delay": timedelta(minutes=1), "env": {"A": "1"}}
    task = only(
        lambda: echo("a", retries=3, execution_timeout=7.5, queue="large", taint="gpu", title="An A"),
        default_args=defaults,
    )
    assert (task.retries, task.retry_interval_s, task.timeout_s) == (3, 60.0, 7.5)
    assert (task.queue, task.taint, task.title, task.env) == ("large", "gpu", "An A", (("A", "1"),))
    assert task.work == Command(argv=("bash", "-c", "echo a"))


def test_the_whole_has_its_options() -> None:
    """A workflow has the DAG's name, description and limits, and other formats write it."""
    with DAG("whole", description="All of it", parallelism=2, allow_partial_failure=False) as dag:
        echo("a") >> echo("b")
    workflow = dag.load().workflow
    assert (workflow.name, workflow.description, workflow.parallelism) == ("whole", "All of it", 2)
    assert not workflow.allow_partial_failure
    assert workflow.source == __file__
    assert '"b"' in write_workflow(workflow, "mermaid")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [("@daily", "00:00"), (timedelta(days=1), "every 1 day"), (timedelta(seconds=90), "every 0:01:30")],
)
def test_a_schedule_is_checked_and_no_more(schedule: str | timedelta, words: str) -> None:
    """It is loaded with a notice, once, that says when it would run."""
    with DAG("daily", schedule=schedule, start_date=datetime(2025, 1, 1), catchup=False) as dag:
        echo("a")
        echo("b")
    (notice,) = dag.load(strict=True).notices
    assert "not scheduled: it would run" in str(notice)
    assert words in str(notice)


def test_a_cycle_is_told_as_a_path() -> None:
    """The error has the ids along it, and where one of them waits."""

    def write() -> None:
        a, b, c = echo("a"), echo("b"), echo("c")
        a >> b >> c >> a

    (line,) = refused(write)
    assert "tasks wait for each other: 'a' -> 'c' -> 'b' -> 'a'" in line


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Each problem has its line, also where there are several."""

    def write() -> None:
        echo("a", retires=1)
        echo("a")
        PythonOperator("b", len)

    lines = refused(write, parallelism=-1)
    assert len(lines) == 4
    assert any("no option 'retires'; did you mean 'retries'?" in line for line in lines)
    assert any("the id 'a' is taken by the task at" in line for line in lines)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (
            lambda: echo("a") >> [echo("b"), echo("c")] >> anything([echo("d")]),
            "a list stands on both sides of >>: [b, c]",
        ),
        (lambda: echo("a") >> anything("b"), "beside >> stands 'b'"),
        (lambda: echo("a") << anything([echo("b"), 3]), "beside << stands"),
        (lambda: DAG("inner").__enter__(), "'inner' begins in the block of 'wrong'"),
        (lambda: (a := echo("a")) >> a, "depends on itself"),
        (lambda: None, "has no task"),
        (lambda: echo("a", when=lambda: True), "when= is for branches"),
        (lambda: echo("a", retries=-1), "retries must be from 0"),
        (lambda: echo("a", retry_delay="soon"), "retry_delay must be a timedelta"),
        (lambda: echo("a", execution_timeout=timedelta(-1)), "execution_timeout must be"),
        (lambda: echo("a", env={"A": 1}), "a text without NUL for A"),
        (lambda: echo("a", queue=""), "queue must be a name"),
        (lambda: echo("\n"), "is no name"),
        (lambda: BashOperator("a", " "), "must be a script"),
        (lambda: PythonOperator("a", anything(3)), "must be a function"),
        (lambda: PythonOperator("a", len, "abc"), "must be a list or a tuple"),
        (lambda: PythonOperator("a", lambda x: x, [1, 2]), "cannot be called so: too many"),
        (lambda: PythonOperator("a", print, [echo("b")]), "the value of 'b', a BashOperator, which returns none"),
        (lambda: HttpOperator("a", "file:///etc/passwd"), "one of http or https"),
        (lambda: HttpOperator("a", "http://x", method="GO"), "no method 'GO'"),
        (lambda: HttpOperator("a", "http://x", data="a", json={}), "data and json"),
        (lambda: HttpOperator("a", "http://x", json={1}), "cannot be written as JSON"),
        (lambda: HttpOperator("a", "http://x", headers={"a b": "c"}), "unlike 'a b'"),
        (lambda: HttpOperator("a", "http://x", headers={"A": "{{DAGORAMA_TOKEN}}"}), "setting of dagorama"),
        (lambda: HttpSensor("a", "http://x", timeout=-1), "timeout must be"),
        (lambda: HttpSensor("a", "http://x", headers=anything(["A: b"])), "headers must be a dict"),
        (lambda: HttpSensor("a", "http://x", response_check=anything("ok")), "response_check must be a function"),
        (lambda: HttpOperator("a", "http://x", response_filter=anything(3)), "response_filter must be a function"),
        (lambda: HttpOperator("a", "http://x", timeout=inf), "timeout must be a timedelta or a number"),
        (lambda: HttpOperator("a", anything(3)), "the url must be a text"),
        (lambda: FileSensor("a", "x", poke_interval=0), "poke_interval must be more than 0"),
        (lambda: BashOperator("a", "ls", cwd=anything(3)), "cwd must be a folder"),
        (lambda: PythonOperator("a", waits), "asyncio.run"),
        (lambda: echo("a") >> anything([]) >> echo("b"), "beside >> stands an empty list"),
        (lambda: anything([]) >> echo("b"), "beside >> stands an empty list"),
        (lambda: FileSensor("a", ""), "must be a path"),
    ],
)
def test_what_cannot_be_is_refused(write: Callable[[], object], why: str) -> None:
    """The error names the thing and the way out, and has the file and the line."""
    assert any(why in line for line in refused(write))


@pytest.mark.parametrize(
    ("of_dag", "why"),
    [
        ({"schedule": "61 * * * *"}, "schedule is wrong: the field 'minute'"),
        ({"schedule": "0 0 30 2 *"}, "names no time that comes"),
        ({"schedule": timedelta()}, "longer than 0"),
        ({"schedule": 3}, "a cron string or a timedelta"),
        ({"start_date": "today"}, "must be a datetime"),
        ({"parallelism": "many"}, "parallelism must be"),
        ({"catchup": "no"}, "catchup must be True or False"),
        ({"allow_partial_failure": "false"}, "allow_partial_failure must be True or False"),
    ],
)
def test_what_a_dag_cannot_have_is_refused(of_dag: dict[str, Any], why: str) -> None:
    """It is told with the rest, at the DAG's line."""
    assert any(why in line for line in refused(lambda: echo("a"), **of_dag))


@pytest.mark.parametrize("url", ["http://me:s3cret@x/", "http://x/?token=s3cret and"])
def test_secrets_of_urls_are_not_told(url: str) -> None:
    """What is wrong with a URL is told without the parts of it that may be secret."""
    (line,) = refused(lambda: HttpOperator("a", url))
    assert "the url cannot be 'http://x/" in line
    assert "s3cret" not in line


def test_operators_belong_to_one_dag() -> None:
    """Outside of a DAG there is none, nor is there an edge from one DAG to another."""
    with pytest.raises(WorkflowError, match="'a' stands outside of a DAG; write it in the block of `with DAG"):
        echo("a")
    with DAG("first"):
        a = echo("a")
    with DAG("second"):
        b = echo("b")
    with pytest.raises(WorkflowError, match="'b' and 'a' are in different DAGs"):
        a >> b


def test_an_error_of_the_block_is_its_own() -> None:
    """What is raised inside of a block comes out as it is, and the next block begins anew."""

    def write() -> None:
        echo("a", retries=-1)
        raise KeyError

    with pytest.raises(KeyError), DAG("broken"):
        write()
    assert only(lambda: echo("a")).id == "a"


def test_what_cannot_travel_is_told_when_it_is_loaded() -> None:
    """A function that refers to an operator or to a lock is named with the way out."""
    lock = __import__("threading").Lock()
    with DAG("stays") as dag:
        a = PythonOperator("a", lambda: 1)
        PythonOperator("b", lambda: a)
        PythonOperator("c", lambda: lock)
    with pytest.raises(WorkflowError) as caught:
        dag.load()
    first, second = str(caught.value).splitlines()
    assert "'b' cannot travel to a worker: it refers to the operator 'a': name that in op_args" in first
    assert "'c' cannot travel to a worker: " in second


#: A DAG with all that is packed in other bytes by each process, or not packed as the file has it.
VERSIONS = """
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from dagorama.workflows.operators import DAG, HttpOperator, PythonOperator

SCALE = int(os.environ["SCALE"])

class Size(Enum):
    SMALL = 1
    LARGE = 2

class Base(ABC):
    @abstractmethod
    def scaled(self): ...

@dataclass
class Model(Base):
    weights: list
    size: Size = Size.SMALL
    names: set = field(default_factory=lambda: {"some", "words", "in", "a", "set"})

    def scaled(self):
        return [later(each) for each in self.weights]

    @property
    def last(self):
        return self.weights[-1] * 1

    @classmethod
    def made(cls):
        return cls([])

def later(weight):
    return weight * SCALE

def fit(model, count):
    return fit(model, count - 1) if count else (model, Size.LARGE)

with DAG("versions") as dag:
    PythonOperator("fit", fit, [Model([1]), 2], retries=1)
    PythonOperator("partial", partial(fit, Model([2])), [0])
    HttpOperator("ask", "http://localhost/", response_check=lambda answer: answer.status_code == 200)
"""


#: What may change in it, and makes another version.
CHANGES = (
    ("Model([1])", "Model([3])"),
    ("== 200", "== 201"),
    ("count - 1", "count - 2"),
    ("weights[-1] * 1", "weights[-1] * 2"),
    ("cls([])", "cls([1])"),
    ("LARGE = 2", "LARGE = 3"),
)


def test_a_version_is_that_of_what_is_said(tmp_path: Path) -> None:
    """The same file has the same version in every process, and another one when something changes that goes along."""
    program = "import sys; print(*[__import__(name).dag.load().workflow.version for name in sys.argv[1:]])"
    changed = {f"changed{number}": VERSIONS.replace(*change) for number, change in enumerate(CHANGES)}
    for name, text in {"versions": VERSIONS, **changed}.items():
        (tmp_path / f"{name}.py").write_text(text)

    def versions(*names: str, scale: str, seed: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
        environment |= {"SCALE": scale, "PYTHONHASHSEED": seed}
        words = [sys.executable, "-B", "-c", program, *names]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=100)
        return done.stdout.split()

    (first,) = versions("versions", scale="1", seed="1")
    (scaled,) = versions("versions", scale="2", seed="2")
    again, *others = versions("versions", *changed, scale="1", seed="3")
    assert again == first
    assert len({first, scaled, *others}) == len(CHANGES) + 2


def test_a_callable_without_code_has_a_version(tmp_path: Path) -> None:
    """An object that is called, as `partial` makes, is told apart by all of it."""
    calls = [only(lambda n=n: PythonOperator("a", partial(pow, n), [2])).work for n in (2, 2, 3)]  # type: ignore[misc]
    assert calls[0] == calls[1] != calls[2]


def test_a_sensor_ends_in_time(tmp_path: Path) -> None:
    """It fails after its timeout and says what it has waited for; what is there from the first is not waited for."""
    with pytest.raises(TimeoutError, match=r"waited for 0\.1 s: there is no "):
        wait_until(0.01, 0.1, missing_file, str(tmp_path / "a*"))
    (tmp_path / "abc").touch()
    wait_until(600, 600, missing_file, str(tmp_path / "a*"))


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (NodeStopped(instance_id=UUID(int=1), node_id=UUID(int=2)), True),
        (TaskLeft(task_id="a", problem="cannot be followed"), True),
        (OSError("the disk is full"), True),
        (TaskFailed(task_id="a", problem="ended with exit status 1"), False),
        (TimeoutError("it took too long"), False),
    ],
)
def test_files_of_a_call_that_may_go_on_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, stays: bool
) -> None:
    """The next attempt, which follows the call, has its value from there; they go with the end of the call."""
    monkeypatch.setenv("DAGORAMA_RUNS", str(tmp_path))

    def execute(command: Command) -> None:
        raise error

    made = make_call(len, ("abc",), {}, "")
    task = Task(id="a", work=made)
    here = SimpleNamespace(task=task, values={}, run_id="run", key="key", execute=execute)
    with pytest.raises(type(error)):
        made.run(cast(TaskRun, here))
    assert (tmp_path / "run" / "calls" / "key" / "call").exists() == stays
