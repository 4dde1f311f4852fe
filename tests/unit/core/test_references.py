"""References of payloads: what is read is what was written, and what cannot be is refused with what is wrong."""

import pytest

from dagorama_broker.core.model.references import (
    MARK,
    REFERENCES_MAX,
    BadReferences,
    Reference,
    references_of,
    referring,
    refers,
    stored_references,
    write_references,
)

ONE = Reference(b"d" * 32, 1)
OTHER = Reference(bytes(range(32)), 2**63 - 1)


@pytest.mark.parametrize("stream", [b"", b"\x80\x05K\x01.", b"\x01\x01", None])
@pytest.mark.parametrize("references", [[ONE], [OTHER, ONE], [Reference(b"e" * 32, 0)]])
def test_references_are_read_as_they_were_written(references: list[Reference], stream: bytes | None) -> None:
    """Whatever follows them, and in their order."""
    payload = write_references(references, stream)
    assert refers(payload)
    assert (list(references_of(payload)), list(stored_references(payload))) == (references, references)


def test_as_many_as_may_be_are_read() -> None:
    """So that the number of them takes several bytes."""
    references = [Reference(number.to_bytes(32, "big"), number) for number in range(REFERENCES_MAX)]
    assert references_of(write_references(references, b".")) == references


def test_the_form_is_the_one_that_the_wire_says() -> None:
    """Byte for byte, as `values.proto` has it for clients in any language."""
    assert write_references([ONE, Reference(b"e" * 32, 300)], b"S") == (
        MARK + b"\x02\x00" + b"d" * 32 + b"\x01" + b"e" * 32 + b"\xac\x02" + b"S"
    )
    assert write_references([ONE], None) == MARK + b"\x01\x01" + b"d" * 32 + b"\x01"


def test_edited_arguments_keep_the_references_that_they_stand_before() -> None:
    """Lines of JSON, as many as there are; without a payload behind them there are none."""
    line = b'{"edits": {"a": "\\n"}}\n'
    assert list(stored_references(line + line + write_references([ONE], b"."))) == [ONE]
    assert [list(stored_references(payload)) for payload in (line, b'{"args": []}', line + b"\x80.", b"")] == [[]] * 4


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (MARK, "ends in the midst"),
        (MARK + b"\x00\x00", "has 0 references"),
        (MARK + b"\x91\x4e\x00", "has 10001 references"),
        (MARK + b"\x01", "flags are missing"),
        (MARK + b"\x01\x02" + b"d" * 32 + b"\x01", "flags are 02"),
        (MARK + b"\x01\x00" + b"d" * 31, "ends in the midst"),
        (MARK + b"\x01\x00" + b"d" * 32, "ends in the midst"),
        (MARK + b"\x01\x00" + b"d" * 32 + b"\x80", "ends in the midst"),
        (MARK + b"\x01\x00" + b"d" * 32 + b"\x80\x00", "shortest form"),
        (MARK + b"\x01\x00" + b"d" * 32 + b"\xff" * 9 + b"\x01", "too large"),
        (MARK + b"\x01\x01" + b"d" * 32 + b"\x01!", "1 bytes follow"),
        (MARK + b"\x02\x00" + (b"d" * 32 + b"\x01") * 2, "twice"),
    ],
)
def test_what_only_begins_like_references_is_refused(payload: bytes, problem: str) -> None:
    """With what is wrong; stored by clients that store any bytes it has none."""
    with pytest.raises(BadReferences, match=problem):
        references_of(payload)
    assert stored_references(payload) == ()


def test_every_end_of_a_header_is_refused() -> None:
    """A payload that was cut off anywhere in its references does not pass for one with fewer."""
    payload = write_references([ONE, OTHER], None)
    for end in range(len(MARK), len(payload)):
        with pytest.raises(BadReferences):
            references_of(payload[:end])


def test_other_payloads_do_not_refer() -> None:
    """Pickles, JSON, and nothing at all."""
    plain = [b"", b"\x01", b"\x01values", b"\x80\x05K\x01.", b'{"args": []}', b"\x02"]
    assert (referring(plain), referring([]), references_of(plain[3])) == ([], [], ())
    assert [0, len(plain) + 1] == referring([MARK, *plain, MARK, b""])
