"""Ids of spans follow from those of nodes, and contexts travel as text."""

from __future__ import annotations

import sys

import pytest

from dagorama.tracing.ids import TraceContext, attempt_span_id, instance_span_id, parse
from dagorama.tracing.spawning import context_of_start

ID = bytes(range(16))


def test_a_context_is_read_as_it_was_written() -> None:
    """It is the value of a traceparent header."""
    context = TraceContext(0xABC, 0xDEF, True)
    assert str(context) == "00-00000000000000000000000000000abc-0000000000000def-01"
    assert parse(str(context)) == context
    assert parse(str(context._replace(is_sampled=False))) == context._replace(is_sampled=False)


@pytest.mark.parametrize("text", ["", "x", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01", "00-1-1-01"])
def test_what_is_no_context_is_none(text: str) -> None:
    """A tag that somebody has set by hand holds up no node."""
    assert parse(text) is None


def test_each_attempt_and_each_end_has_an_id_of_its_own() -> None:
    """They are the same wherever they are made, and never 0."""
    ids = [attempt_span_id(ID, 1), attempt_span_id(ID, 2), instance_span_id(ID), instance_span_id(ID, 2)]
    assert len(set(ids)) == 4
    assert all(0 < one < 2**64 for one in ids)


def test_a_program_that_has_no_span_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its instance is the begin of a trace, of which it is the first span itself."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    context = context_of_start(ID)
    assert context == TraceContext(int.from_bytes(ID, "big"), instance_span_id(ID), True)
    assert "opentelemetry.trace" not in sys.modules
