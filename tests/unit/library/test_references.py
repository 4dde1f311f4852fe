"""References in payloads: written and read, and never taken for what they are not."""

from __future__ import annotations

import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagorama.calls.references import (
    MARK,
    REFERENCES_MAX,
    BadReferences,
    Reference,
    is_referring,
    read_order,
    read_references,
    total_size,
    write_order,
    write_references,
)
from dagorama_broker.core.model import references as brokers

DIGEST = bytes(range(32))
ONE = Reference(DIGEST, 300)

references = st.lists(
    st.builds(Reference, st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1)),
    min_size=1,
    max_size=9,
    unique_by=lambda reference: reference.digest,
)


@given(references, st.none() | st.binary(max_size=99))
def test_references_are_read_as_they_were_written(written: list[Reference], stream: bytes | None) -> None:
    """Whatever follows them; and the broker reads the same."""
    payload = write_references(written, stream)
    assert is_referring(payload)
    assert read_references(payload) == (tuple(written), stream)
    assert [Reference(*one) for one in brokers.references_of(payload)] == written
    assert payload == brokers.write_references([brokers.Reference(*one) for one in written], stream)
    assert total_size(payload) == len(payload) + sum(one.size for one in written)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(rest: bytes) -> None:
    """With one error, and by the broker where they are refused here."""
    payload = MARK + rest
    here = there = None
    with suppress(BadReferences):
        here = list(read_references(payload).references)
    with suppress(brokers.BadReferences):
        there = [Reference(*one) for one in brokers.references_of(payload)]
    assert here == there


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "no references"),
        (pickle.dumps(1), "no references"),
        (MARK, "no end"),
        (b"\x01" + MARK[2:], "no references"),
        (MARK + b"\x00\x00", "0 references"),
        (MARK + b"\xff\xff\xff\xff\x0f\x00" + DIGEST, "references"),
        (MARK + b"\x80\x00" + DIGEST, "shortest"),
        (MARK + b"\x01\x02" + DIGEST + b"\x05", "its flags are 2"),
        (MARK + b"\x01\x00" + DIGEST + b"\xff" * 9 + b"\x01", "too large"),
        (MARK + b"\x01\x01" + DIGEST + b"\x05more", "something follows"),
        (MARK + b"\x02\x00" + 2 * (DIGEST + b"\x05"), "twice"),
        (write_references([ONE], None)[:-1], "no end"),
    ],
)
def test_each_fault_is_named(payload: bytes, problem: str) -> None:
    """Nothing else is raised, and nothing large is made."""
    with pytest.raises(BadReferences, match=problem):
        read_references(payload)


@given(st.lists(st.integers(0, REFERENCES_MAX - 1), max_size=REFERENCES_MAX))
def test_the_order_of_buffers_is_read_as_it_was_written(places: list[int]) -> None:
    """It ends where the pickle begins."""
    begin = write_order(places)
    assert read_order(begin + pickle.dumps(1)) == (places, len(begin))
    assert read_order(pickle.dumps(1)) == (None, 0)
