"""What dagorama 0.1 got wrong, and must not come back: each of the page's statements, turned round."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from dagorama.code_signature import calculate_function_hash
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, generate_instance_id, resolve
from dagorama.errors import NodeFailed
from dagorama.retry import StaticRetry
from dagorama.runner import execute_worker, launch_workers
from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import Client, Worker, call, new_id, refusal
from tests.timing import least_s

ROOT = Path(__file__).parents[2]

#: Runs all that is there and returns; what a node raises comes out.
work = partial(execute_worker, infinite_loop=False, catch_exceptions=False)


class Mistakes(DAGDefinition):
    """Nodes that 0.1 got wrong."""

    greeting = "of the class"

    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    @dagorama().syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama().syncfn
    def forward(self, value: Any) -> Any:
        return self.give(value)

    @dagorama().syncfn
    def several(self, count: int) -> list[Any]:
        return [self.forward(index) for index in range(count)]

    @dagorama().syncfn
    def describe(self, value: Any) -> str:
        return repr(value)

    @dagorama().syncfn
    def add(self, left: int, right: int, record: str) -> int:
        note(record, "add")
        return left + right

    @dagorama().syncfn
    def number(self, number: int, record: str) -> int:
        note(record, str(number))
        return number

    @dagorama().syncfn
    def raises(self) -> int:
        raise LookupError("no such thing")

    @dagorama(queue_name="shared").syncfn
    def in_shared_queue(self) -> str:
        return "free"

    @dagorama(queue_name="shared", taint_name="gpu").syncfn
    def tainted(self) -> str:
        return "tainted"

    @dagorama().syncfn
    def write(self) -> str:
        self.greeting = "written"
        return self.greeting

    @dagorama().syncfn
    def read(self) -> str:
        return self.greeting

    @dagorama(retry=StaticRetry(max_attempts=2, interval=0.1)).syncfn
    def second_time(self, record: str) -> float:
        note(record, str(time.monotonic()))
        first, *later = notes(record)
        if not later:
            raise LookupError("not yet")
        return float(later[0]) - float(first)

    @dagorama().syncfn
    def die_once(self, record: str) -> int:
        note(record, "begun")
        if len(notes(record)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(notes(record))

    @dagorama().syncfn
    def meet(self) -> bool:
        return together.wait(60) >= 0

    @dagorama().syncfn
    def length(self, value: bytes) -> int:
        return len(value)

    def add_to_itself(self, record: str) -> int:
        value = self.give(4)
        return self.add(value, value, record)

    def in_order(self, record: str) -> list[int]:
        return [self.number(index, record) for index in range(50)]

    def write_and_read(self) -> list[str]:
        written = self.write()
        return [written, self.read_after(written)]

    @dagorama().syncfn
    def read_after(self, _: str) -> str:
        return self.greeting


#: Two nodes that run at once in one process meet here.
together = threading.Barrier(2)


def note(record: str, line: str) -> None:
    """Writes down what a node did."""
    with open(record, "a") as file:
        file.write(f"{line}\n")


def notes(record: str) -> list[str]:
    """Reads what nodes did."""
    return Path(record).read_text().splitlines()


def value_of(case: str, *args: object) -> object:
    """Runs a method as the entrypoint of an instance here."""
    instance, promise = Mistakes()(case, *args)
    work()
    value: object = resolve(instance, promise)
    return value


def instance_of(definition: DAGDefinition) -> Any:
    """Makes an instance without calling an entrypoint."""
    return DAGInstance(generate_instance_id(), definition)


@pytest.fixture
def record(tmp_path: Path) -> str:
    """Names a file in which nodes write down what they do."""
    return str(tmp_path / "record")


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, "", [], False, None])
def test_falsy_results_are_results(value: object) -> None:
    """They come back as they are, also from a node that waited for them."""
    assert value_of("forward", value) == value
    assert value_of("describe", value) == repr(value)


def test_consumers_get_values() -> None:
    """Not the raw promise of a promise-returning node, nor promises in a list that it returned."""
    instance = instance_of(Mistakes())
    promises = [instance.describe(instance.forward(7)), instance.describe(instance.several(3)), instance.several(3)]
    work()
    assert [resolve(instance, promise) for promise in promises] == ["7", "[0, 1, 2]", [0, 1, 2]]


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_promise_used_twice_runs_its_consumer_once(record: str) -> None:
    """`add(x, x)` is one node."""
    assert value_of("add_to_itself", record) == 8
    assert notes(record) == ["add"]


def test_a_repeated_or_late_result_changes_nothing(own_broker: LaunchedBroker) -> None:
    """Whoever has lost a node is refused, while another runs it and afterwards, and nothing downstream runs again."""
    first, second = new_id(), new_id()
    hello = partial(work_pb2.Hello, name="w", slots=1)
    with Client(own_broker.target) as client:
        instance_id = client.start(call(first), call(second, first))
        lost = Worker(own_broker.target, hello(worker_id=new_id()))
        (old,) = lost.take()
        lost.send(work_pb2.WorkRequest(draining=True))
        lost.hand_back(old)
        worker = Worker(own_broker.target, hello(worker_id=new_id()))
        (grant,) = worker.take()
        lost.complete(old, b"late")
        worker.complete(grant, b"value")
        (dependent,) = worker.take()
        lost.complete(old, b"later")
        worker.complete(grant, b"repeated")
        worker.complete(dependent, b"done")
        worker.settle()
        assert (len(lost.refusals), len(worker.refusals), worker.grants) == (2, 1, [])
        (response,) = client.watch(instance_id, first)
        assert list(response.values.payloads) == [b"value"]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_failures_are_told() -> None:
    """Without a retry policy dependents fail too, and whoever waits gets type, message and traceback of the cause."""
    instance = instance_of(Mistakes())
    failed = instance.raises()
    dependent = instance.describe([instance.forward(failed)])
    other = instance.give(1)
    execute_worker(infinite_loop=False)
    assert resolve(instance, other) == 1
    for promise in (failed, dependent):
        with pytest.raises(NodeFailed) as raised:
            resolve(instance, promise, wait_for_results=True)
        assert (raised.value.exception_type, raised.value.exception_message) == ("LookupError", "no such thing")
        assert 'raise LookupError("no such thing")' in raised.value.remote_traceback


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_a_restart_repeats_and_loses_nothing(tmp_path: Path, record: str) -> None:
    """After the broker was killed, what had completed is not run again, and what was waiting is run."""
    storage = f"sqlite:///{tmp_path}/broker.db"
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=storage))
        instance = instance_of(Mistakes())
        done = instance.number(1, record)
        waiting = instance.describe([done, instance.in_shared_queue()])
        work(exclude_queues=["shared"])
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait()
        stack.enter_context(launch_broker(port=broker.port, storage=storage))
        assert (resolve(instance, done), resolve(instance, waiting)) == (1, None)
        work()
        assert resolve(instance, waiting) == "[1, 'free']"
    assert notes(record) == ["1"]


def test_unknown_ids_are_refused() -> None:
    """Nodes, instances and leases that do not exist are errors of the call; the broker goes on."""
    with launch_broker(port=0) as broker, Client(broker.target) as client:
        known = client.start(call(new_id()))
        unknown = uuid4().bytes
        asked = [
            refusal(lambda: client.node(unknown, unknown)),
            refusal(lambda: client.node(known, unknown)),
            refusal(lambda: client.instance(unknown)),
            refusal(lambda: client.watch(unknown, unknown)),
        ]
        assert [code for code, _ in asked] == [grpc.StatusCode.NOT_FOUND] * 4
        worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w", slots=1))
        worker.finish(work_pb2.Result(node_id=unknown, token=1, failure=graph_pb2.Failure(type="X")))
        assert len(worker.refusals) == 1
        assert broker.process.poll() is None
        assert client.dag.GetInstance(dag_pb2.GetInstanceRequest(instance_id=known)).instance.instance_id == known


# -- order, taints -----------------------------------------------------------------------------------------------------


def test_within_an_instance_nodes_run_in_the_order_of_the_calls(record: str) -> None:
    """First called, first run."""
    assert value_of("in_order", record) == list(range(50))
    assert notes(record) == [str(index) for index in range(50)]


@pytest.mark.parametrize("tainted_first", [False, True])
def test_a_taint_belongs_to_the_node(own_broker: LaunchedBroker, tainted_first: bool) -> None:
    """On a queue that tainted and other nodes share, a worker without the toleration gets only the others."""
    instance = instance_of(Mistakes())
    calls = [instance.tainted, instance.in_shared_queue]
    promises = [call() for call in (calls if tainted_first else calls[::-1])]
    work(include_queues=["shared"])
    assert {resolve(instance, promise) for promise in promises} == {"free", None}
    work(include_queues=["shared"], queue_tolerations=["gpu"])
    assert {resolve(instance, promise) for promise in promises} == {"free", "tainted"}


# -- code --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "is_same"),
    [
        ("def f(a, b=1):\n    return help_(a) + b", True),
        ("\n\n# moved\n\ndef f(a, b=1):\n\n    return help_(a) + b", True),
        ("def f(a, b=1):\n    return other(a) + b", False),
        ("def f(a, b=2):\n    return help_(a) + b", False),
    ],
)
def test_the_hash_sees_code_and_not_its_place(source: str, is_same: bool) -> None:
    """A renamed callee and a changed default change it; another file or line doesn't."""

    def hashed(text: str, file: str) -> str:
        namespace: dict[str, Any] = {}
        exec(compile(text, file, "exec"), namespace)
        return calculate_function_hash(namespace["f"])

    before = hashed("def f(a, b=1):\n    return help_(a) + b", "/home/one/module.py")
    assert (hashed(source, "/srv/two/module.py") == before) is is_same


# -- instances ---------------------------------------------------------------------------------------------------------


def test_what_is_written_to_an_instance_stays_there() -> None:
    """Neither the definition, nor another instance, nor another node of the same sees it."""
    definition = Mistakes()
    one, other = instance_of(definition), instance_of(definition)
    one.greeting = "changed"
    assert (one.greeting, other.greeting, definition.greeting) == ("changed", "of the class", "of the class")
    assert value_of("write_and_read") == ["written", "of the class"]
    instance, promise = Mistakes()("read")
    work()
    assert resolve(instance, promise) == "of the class"


# -- speed -------------------------------------------------------------------------------------------------------------


def test_nothing_is_polled_for(own_broker: LaunchedBroker, record: str) -> None:
    """New nodes, retries that are due, and what a dead worker ran start without a pause that one notices."""
    with launch_workers(2):
        Mistakes()("give", 1)[0].result(timeout=60)

        def give_20() -> None:
            for number in range(20):
                Mistakes()("give", number)[0].result(timeout=60)

        records = (f"{record}-{number}" for number in count())

        def retry() -> float:
            return max(wait_for_retry() for _ in range(3))  # a poll may come just in time, once

        def wait_for_retry() -> float:
            instance = instance_of(Mistakes())
            took_s: float = resolve(instance, instance.second_time(next(records)), wait_for_results=True)
            assert took_s >= 0.1
            return took_s

        def die() -> None:
            instance = instance_of(Mistakes())
            assert resolve(instance, instance.die_once(next(records)), wait_for_results=True) == 2

        assert least_s(give_20, 2) < 2  # 0.1: 20 s
        assert least_s(retry, 1) < 1  # 0.1: 10 s
        assert least_s(die, 10) < 10  # 0.1: 60 s


def test_a_process_has_one_connection(own_broker: LaunchedBroker) -> None:
    """However many calls a program makes, it makes them on one connection."""
    before = connections(own_broker.port)
    started = [Mistakes()("give", number) for number in range(20)]
    during = connections(own_broker.port)
    work()
    assert [resolve(instance, promise) for instance, promise in started] == list(range(20))
    assert (before, during) == (0, 1)


def connections(port: int) -> int:
    """Counts this process's established TCP connections to a port."""
    own = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # a thread has closed it meanwhile
            own.add(os.readlink(link))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in own for row in rows)


def test_a_process_runs_several_nodes_at_once(own_broker: LaunchedBroker) -> None:
    """`worker --processes 1 --concurrency 2` runs two nodes that wait for each other."""
    words = ["--processes", "1", "--concurrency", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "dagorama.cli.worker", *words], cwd=ROOT, env=environment) as worker:
        try:
            instance = instance_of(Mistakes())
            promises = [instance.meet(), instance.meet()]
            assert resolve(instance, promises, wait_for_results=True) == [True, True]
        finally:
            worker.terminate()


def test_many_queues_cost_no_more_than_one(own_broker: LaunchedBroker) -> None:
    """A thousand nodes in as many queues are chosen about as fast as a thousand in one."""
    with Client(own_broker.target) as client:

        def run(functions: list[graph_pb2.FunctionSpec]) -> float:
            worker = Worker(own_broker.target, work_pb2.Hello(worker_id=new_id(), name="w", slots=1))
            client.start(*[call(new_id(), function=n % len(functions)) for n in range(1000)], functions=functions)
            begun = time.monotonic()
            for _ in range(1000):
                (grant,) = worker.take()
                worker.complete(grant)
            took_s = time.monotonic() - begun
            worker.send(work_pb2.WorkRequest(draining=True))
            worker.settle()
            return took_s

        limit_s = 3 * run(client.functions) + 0.5
        many = [graph_pb2.FunctionSpec(name="f", queue=f"q{n}") for n in range(1000)]
        assert least_s(lambda: run(many), limit_s) < limit_s


# -- sizes, ports, types -----------------------------------------------------------------------------------------------


def test_large_values_pass() -> None:
    """5 MB as an argument and as a result, where 4 MB was the end."""
    value = os.urandom(5_000_000)
    instance = instance_of(Mistakes())
    promise = instance.length(instance.give(value))
    work()
    assert resolve(instance, promise) == len(value)


def test_the_port_that_is_asked_for_is_used() -> None:
    """`launch_broker(port=X)` listens on X, and definitions and workers find it there."""
    with launch_broker(port=0) as broker:
        port = broker.port
    with launch_broker(port=port) as broker:
        assert (broker.port, os.environ["DAGORAMA_PORT"]) == (port, str(port))
        assert value_of("give", 1) == 1


TYPED = """
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, resolve
from typing import assert_type

class Typed(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, number: int) -> str:
        assert_type(self.double(number), int)
        return str(self.double(number))

    @dagorama().syncfn
    def double(self, number: int) -> int:
        return number * 2

instance, promise = Typed()(1)
assert_type(promise, str)
assert_type(resolve(instance, promise), str | None)
Typed().double("one")
"""


def test_decorators_keep_types(tmp_path: Path) -> None:
    """To mypy `instance, promise = dag()` is right, nothing is `Any`, and a wrong argument is an error."""
    (tmp_path / "typed.py").write_text(TYPED)
    outcome = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(tmp_path / "typed.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    (error,) = outcome.stdout.splitlines()
    assert 'Argument 1 to "double" of "Typed" has incompatible type "str"; expected "int"' in error
