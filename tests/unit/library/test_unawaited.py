"""Calls of asynchronous functions that nobody awaits: refused when their node ends, wherever it runs."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from dagorama import DAGDefinition, NodeFailed, NotAwaited, StaticRetry, dagorama
from dagorama.running.unawaited import check_all_awaited
from dagorama.testing import in_process_broker, inline

notified: list[int] = []
kept: list[Any] = []


class Forgetful(DAGDefinition):
    @dagorama(retry=StaticRetry(3, 0)).asyncfn
    async def entrypoint(self, how: str) -> Any:
        kept.append(how)
        return await getattr(self, f"_{how}")()

    @dagorama().asyncfn
    async def notify(self, number: int) -> int:
        notified.append(number)
        return number

    @dagorama().syncfn
    def plain(self, is_awaited: bool) -> int:
        call: Any = self.notify(1)
        if is_awaited:
            asyncio.run(call)
        return 7

    async def _forgets(self) -> str:
        self.notify(1)  # type: ignore[unused-coroutine]  # that is the mistake
        return "done"

    async def _forgets_two(self) -> str:
        for number in range(2):
            self.notify(number)  # type: ignore[unused-coroutine]  # that is the mistake
        await self.notify(2)
        return "done"

    async def _forgets_start(self) -> str:
        Other()(1)  # type: ignore[unused-coroutine]  # that is the mistake
        return "done"

    async def _forgets_task(self) -> str:
        kept.append(asyncio.create_task(self.notify(1)))
        return "done"

    async def _keeps(self) -> str:
        kept.append(self.notify(1))
        return "done"

    async def _awaits_all(self) -> list[int]:
        later, closed, cancelled = self.notify(1), self.notify(9), asyncio.create_task(self.notify(9))
        closed.close()
        cancelled.cancel()
        task = asyncio.create_task(self.notify(2))
        await asyncio.sleep(0)
        return [await later, await task, *await asyncio.gather(self.notify(3), Other().entrypoint_of(self))]


class Other(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, number: int) -> int:
        return number

    async def entrypoint_of(self, _: object) -> int:
        _, promise = await self(4)
        return promise


@contextmanager
def inline_errors() -> Iterator[None]:
    """Runs nodes inline."""
    with inline():
        yield


PLACES: list[Callable[[], AbstractContextManager[object]]] = [in_process_broker, inline_errors]


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Forgets what nodes left."""
    notified.clear()
    kept.clear()


def outcome(place: Callable[[], AbstractContextManager[object]], how: str) -> Any:
    """Gives the value, or the message of the failure."""
    with place():
        try:
            instance, _ = asyncio.run(Forgetful()(how))
            return asyncio.run(instance.aresult(timeout=60))
        except (NodeFailed, NotAwaited) as error:
            return str(error)


@pytest.mark.filterwarnings("ignore:coroutine 'Other.entrypoint' was never awaited")  # Python's word for a start
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("forgets", "Forgetful.notify was called and not awaited"),
        ("forgets_two", r"Forgetful.notify (2 calls) were called and not awaited"),
        ("forgets_start", "Other.entrypoint was called and not awaited"),
        ("forgets_task", "Forgetful.notify was called and not awaited"),
        ("keeps", "Forgetful.notify was called and not awaited"),
    ],
)
def test_a_forgotten_await_fails_the_node(
    place: Callable[[], AbstractContextManager[object]], how: str, named: str
) -> None:
    """With the name of the call, and for good: another attempt would forget it too."""
    assert named in outcome(place, how)
    assert kept.count(how) == 1


@pytest.mark.parametrize("place", PLACES)
def test_what_is_awaited_sooner_or_later_counts(place: Callable[[], AbstractContextManager[object]]) -> None:
    """In whatever way; and what is closed or cancelled was not meant."""
    assert outcome(place, "awaits_all") == [1, 2, 3, 4]
    assert sorted(notified) == [1, 2, 3]


@pytest.mark.parametrize("place", PLACES)
def test_plain_functions_cannot_forget_it_either(place: Callable[[], AbstractContextManager[object]]) -> None:
    """They have no `await`, but an event loop of their own."""
    with place():
        instance: Any = asyncio.run(Forgetful()("awaits_all"))[0]
        with pytest.raises((NodeFailed, NotAwaited), match=r"Forgetful\.notify was called.*asyncio\.run\(\)"):
            value_of(instance, instance.plain(False))
        assert value_of(instance, instance.plain(True)) == 7


def value_of(instance: Any, promise: Any) -> Any:
    """Gives a value, which it is already inline."""
    from dagorama import resolve

    return resolve(instance, promise, wait_for_results=True)


@pytest.mark.filterwarnings("ignore:coroutine 'Forgetful.entrypoint' was never awaited")  # once it is recorded
def test_outside_of_nodes_python_names_it() -> None:
    """A start that is never awaited starts nothing, and the warning says which."""
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Forgetful\.entrypoint' was never awaited"):
        Forgetful()("forgets")  # type: ignore[unused-coroutine]  # that is the mistake


def test_a_thread_that_goes_on_making_calls_does_no_harm() -> None:
    """Whatever it calls while the node ends comes too late to be looked at."""
    begun: Any = {}

    class Call:
        """Is never awaited, and while that is found out another is made."""

        cr_running = cr_suspended = cr_frame = None

        def __getattribute__(self, name: str) -> object:
            begun[len(begun)] = self
            return object.__getattribute__(self, name)

    begun[0] = Call()
    check_all_awaited(begun)
    assert len(begun) > 1
