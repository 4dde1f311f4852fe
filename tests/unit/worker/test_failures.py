"""What an exception becomes."""

import pytest

from dagorama.errors import UnknownFunction
from dagorama.payload import decode, no_promises
from dagorama.worker.failures import MESSAGE_CHARS_MAX, TRACEBACK_CHARS_MAX, failure_of, refusal_of


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Raises and catches, so that the error has a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_the_exception_itself_travels() -> None:
    """An exception that pickles is in the failure."""
    failure = failure_of(raised(ValueError("no", 3)))
    exception = decode(failure.exception, no_promises)
    assert isinstance(exception, ValueError)
    assert (failure.type, exception.args, failure.permanent) == ("ValueError", ("no", 3), False)


def test_causes_are_in_the_traceback() -> None:
    """The traceback shows what an exception was raised from."""
    failure = failure_of(raised(ValueError("outer"), cause=KeyError("inner")))
    assert failure.traceback.index("inner") < failure.traceback.index("outer")


def test_a_type_is_named_with_its_module() -> None:
    """Types that are not built in are named so that one finds them."""
    error = UnknownFunction(name="a:B.c", problem="it is gone", way_out="Look elsewhere.")
    assert refusal_of(error).type == "dagorama.errors:UnknownFunction"


@pytest.mark.parametrize("text", ["\ud800", "x" * 2 * MESSAGE_CHARS_MAX, "x" * 2 * TRACEBACK_CHARS_MAX])
def test_any_text_can_be_sent(text: str) -> None:
    """Lone surrogates and endless messages do not keep a failure from its way."""
    failure = failure_of(raised(ValueError(text)))
    assert len(failure.SerializeToString()) < 3 * TRACEBACK_CHARS_MAX
    assert failure.message


def leave(self: object) -> str:
    """Ends the process, or would."""
    raise SystemExit(3)


class Nameless(type):
    """Classes whose module nobody can ask for."""


setattr(Nameless, "__module__", property(leave))  # noqa: B010 - for a type checker it is a str


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (type("A", (Exception,), {"__reduce__": leave}), f"{__name__}:A", "oh"),
        (
            type("B", (Exception,), {"__str__": leave}),
            f"{__name__}:B",
            "(its message cannot be had: str() of it raised SystemExit)",
        ),
        (type("Bad", (Exception,), {"__qualname__": "Bad\ud800"}), f"{__name__}:Bad\\ud800", "oh"),
        (Nameless("C", (Exception,), {}), "BaseException", "(it cannot be described)"),
    ],
)
def test_an_exception_that_resists_is_a_failure(kind: type[Exception], name: str, message: str) -> None:
    """Whatever its own methods raise, and whatever its type is called, an exception ends its attempt."""
    failure = failure_of(raised(kind("oh")), permanent=True)
    assert (failure.type, failure.message, failure.permanent) == (name, message, True)


def test_a_large_exception_stays_here() -> None:
    """Of an exception that holds a lot, type, message and traceback travel."""
    assert failure_of(raised(ValueError(b"x" * 100_000))).exception == b""


def test_endless_recursion_is_a_failure() -> None:
    """The traceback of a recursion that went too deep is shortened."""

    def dive() -> None:
        dive()

    with pytest.raises(RecursionError) as caught:
        dive()
    failure = failure_of(caught.value)
    assert failure.type == "RecursionError"
    assert "more times" in failure.traceback
