"""What a node's function calls while it runs: from its threads, and nested deeply."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.errors import NodeFailed
from dagorama.retry import StaticRetry
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.queries import list_nodes


class Expanding(DAGDefinition):
    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def entrypoint(self, case: str, size: int) -> Any:
        return getattr(self, case)(size)

    @dagorama().syncfn
    def give(self, value: int) -> int:
        return value

    @dagorama().syncfn
    def nest(self, depth: int) -> Any:
        return (depth, self.nest(depth - 1)) if depth else ()

    @dagorama().syncfn
    def depth(self, value: Any) -> int:
        found = 0
        while value:
            found, value = found + 1, value[1]
        return found

    def from_threads(self, size: int) -> Any:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(self.give, range(size)))

    def fail_after_threads(self, size: int) -> Any:
        self.from_threads(size)
        raise LookupError("after its calls")

    def deep(self, size: int) -> Any:
        return self.depth(self.nest(size))


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """A broker and two workers for all tests of this file."""
    with launch_broker(port=0), launch_workers(2):
        yield


def test_calls_from_threads_join_the_expansion() -> None:
    """A call that a node's function makes in a thread of its own comes into being with the node's result."""
    assert Expanding()("from_threads", 9)[0].result(timeout=60) == list(range(9))


def test_failed_attempts_leave_no_children_of_their_threads() -> None:
    """A node that fails after calls from threads has no children, however often it was tried."""
    instance, _ = Expanding()("fail_after_threads", 3)
    with pytest.raises(NodeFailed, match="after its calls"):
        instance.result(timeout=60)
    assert len(list(list_nodes(instance.instance_id.bytes))) == 1


def test_values_nest_deeply() -> None:
    """A value that was joined hundreds deep arrives whole at whoever depends on it."""
    assert Expanding()("deep", 400)[0].result(timeout=60) == 400
