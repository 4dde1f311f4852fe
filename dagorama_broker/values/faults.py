"""The errors of the value store.

ValuesError
├── UnknownValue    it is not there
├── DamagedValue    it was there, and was not what it had been
├── ValueTooLarge   it is over the limit
├── BadUpload       the bytes that came are not those that were announced
├── BadOffset       an upload goes on from further than there is
├── UploadIdle      nothing came for too long
├── StoreFull       there is no room
├── StoreAway       it does not answer now, and may later
└── StoreUnusable   it cannot be read or written, or is another's
"""

from collections.abc import Sequence


class ValuesError(Exception):
    """Base of the errors of the value store."""


class UnknownValue(ValuesError):
    """No value with this digest is in the store."""

    def __init__(self, *, digest: bytes) -> None:
        self.digest = digest
        super().__init__(
            f"value {digest.hex()} is not in the broker's store: it was never put, or nothing used it any more and it "
            "was collected. Put it again, or run the node again that gave it"
        )


class DamagedValue(ValuesError):
    """The bytes that are stored are not those of the digest; they have been removed."""

    def __init__(self, *, digest: bytes, found: bytes, location: str) -> None:
        self.digest = digest
        self.found = found
        super().__init__(
            f"value {digest.hex()} in {location} has been changed: what is stored has the digest {found.hex()}. It is "
            "removed. Check the disk, then put the value again, or run the node again that gave it"
        )


class ValueTooLarge(ValuesError):
    """A value is larger than the broker takes."""

    def __init__(self, *, digest: bytes, size: int, size_max: int) -> None:
        self.digest = digest
        self.size = size
        super().__init__(
            f"value {digest.hex()} has {size} bytes; the limit is {size_max} bytes. Raise DAGORAMA_VALUE_MAX of the "
            "broker, or keep the data in a store of your own and pass its name"
        )


class BadUpload(ValuesError):
    """An upload did not bring what it had announced; the message says in what."""


class BadOffset(ValuesError):
    """An upload wants to go on from further than what is there."""

    def __init__(self, *, digest: bytes, offset: int, received: int) -> None:
        self.digest = digest
        self.received = received
        super().__init__(
            f"an upload of value {digest.hex()} goes on from byte {offset}, and {received} bytes are there; go on from "
            "there, or begin anew"
        )


class UploadIdle(ValuesError):
    """Nothing has come for an upload for too long."""

    def __init__(self, *, digest: bytes, idle_s: float) -> None:
        self.digest = digest
        super().__init__(
            f"nothing has come for {idle_s:g} s of value {digest.hex()}; what is there is kept for a while, so that "
            "another upload can go on from there"
        )


class StoreFull(ValuesError):
    """There is no room for a value."""

    def __init__(self, *, digest: bytes, size: int, location: str, free: int) -> None:
        self.digest = digest
        self.size = size
        self.free = free
        super().__init__(
            f"there is no room for the {size} bytes of value {digest.hex()} in {location}, where {free} bytes are free "
            "for values. Make room there, or name a place with more in DAGORAMA_VALUES; nothing that was acknowledged "
            "is lost, and the value may be put again"
        )


class StoreAway(ValuesError):
    """The store does not answer, or does not let us now; the same may be asked again."""

    def __init__(self, *, location: str, problem: str, is_refusal: bool = False, is_missing: bool = False) -> None:
        self.location = location
        self.problem = problem
        self.is_refusal = is_refusal  #: it has answered, and does not let us
        self.is_missing = is_missing  #: it has answered, and there is no such bucket
        super().__init__(
            f"the store of values {location} cannot be used now: {problem}. Nothing that was acknowledged is lost; "
            "values are put and got again as soon as it answers"
        )


class StoreUnusable(ValuesError):
    """The store cannot be used; the message names it, the reason and the way out."""

    def __init__(self, location: object, what: str, way_out: str = "") -> None:
        super().__init__(f"{location}: {what}. {way_out or 'Mend that, or name another place in DAGORAMA_VALUES'}.")


def names_some(names: Sequence[str]) -> str:
    """Return some of many names, for a message."""
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
