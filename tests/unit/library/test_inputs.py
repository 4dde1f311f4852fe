"""What people see of the arguments of nodes, and what they do not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from tests import queries


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process."""
    with in_process_broker() as started:
        yield started


class Bank(DAGDefinition):
    """Functions with things to hide."""

    @dagorama()
    def entrypoint(self, name: str) -> list[int]:
        """Call the others."""
        return [self.log_in(name, password="s3cret", tries=2), self.hidden("s3cret"), self.plain(1, 2, k=3)]

    @dagorama(redact=("password",))
    def log_in(self, name: str, password: str, tries: int) -> int:
        """Take a password."""
        return tries

    @dagorama(inputs=False)
    def hidden(self, secret: str) -> int:
        """Take a secret."""
        return len(secret)

    @dagorama()
    def plain(self, first: int, *rest: int, k: int) -> int:
        """Take numbers."""
        return k


def inputs_of(instance: Any) -> list[str | None]:
    """Return the inputs of the nodes of an instance."""
    return [node.inputs for node in queries.list_nodes(instance.instance_id.bytes, with_inputs=True)]


def test_arguments_are_shown_unless_they_are_hidden(broker: InProcessBroker) -> None:
    """By name; of redacted ones that they are there; in a list only where they are asked for."""
    instance, _ = Bank()("ann")
    assert instance.result() == [2, 6, 3]
    nodes = list(queries.list_nodes(instance.instance_id.bytes))
    assert [node.inputs for node in nodes] == [None] * 4
    expected = ["name='ann'", "name='ann', password=..., tries=2", None, "first=1, *rest=(2,), k=3"]
    assert inputs_of(instance) == expected
    one_by_one = [queries.get_node(instance.instance_id.bytes, node.node_id.bytes).inputs for node in nodes]
    assert one_by_one == expected


def test_a_program_may_show_none_of_its_arguments(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DAGORAMA_INPUTS=0` holds for all functions that it calls."""

    class Quiet(Bank):
        pass

    class Unsure(Bank):
        pass

    monkeypatch.setenv("DAGORAMA_INPUTS", "0")
    instance, _ = Quiet()("ann")
    assert instance.result() == [2, 6, 3]
    assert inputs_of(instance) == [None] * 4
    monkeypatch.setenv("DAGORAMA_INPUTS", "perhaps")
    with pytest.raises(ValueError, match="DAGORAMA_INPUTS='perhaps' is neither true nor false"):
        Unsure()("bob")


class Large(DAGDefinition):
    """A function of a large argument."""

    @dagorama()
    def entrypoint(self, first: int, data: bytes, last: int) -> int:
        """Give its size."""
        return len(data)


def test_of_large_arguments_the_beginning_is_shown(broker: InProcessBroker) -> None:
    """The broker gives out no more than that."""
    instance, _ = Large()(1, b"x" * 100_000, 2)
    assert instance.result() == 100_000
    assert inputs_of(instance) == ["first=1, data=bytes(<100,000 bytes>), last=2"]
    instance, _ = Large()(1, [b"x" * place for place in range(1_000)], 2)  # type: ignore[arg-type]
    assert instance.result() == 1_000
    (shown,) = inputs_of(instance)
    assert shown is not None
    assert shown.startswith("first=1, data=[b'', b'x', b'xx'")
    assert shown.endswith(", ...")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"redact": ("pasword",)}, "names the unknown argument 'pasword'; .*load has path, password"),
        (
            {"redact": ("password",), "label": "{path}: {password}"},
            "load would tell 'password', which redact= is to hide",
        ),
        ({"redact": "password"}, "it must be a collection of names"),
        ({"redact": (7,)}, "redact has 7, which is no name of an argument"),
        ({"redact": 7}, "redact=7: it must be a collection"),
        ({"inputs": 0}, "inputs must be True or False, not 0"),
        ({"inputs": False, "redact": ("password",)}, "leave one of them out"),
    ],
)
def test_options_are_checked_when_they_are_written(options: dict[str, Any], problem: str) -> None:
    """An argument that would be shown for a slip in a name is not."""
    with pytest.raises(ValueError, match=problem):

        @dagorama(**options)
        def load(self: object, path: str, password: str) -> None:
            pass


def test_further_arguments_may_be_redacted() -> None:
    """A function that takes any may be given one of that name."""

    @dagorama(redact=("token",))
    def load(self: object, **options: str) -> None:
        pass
