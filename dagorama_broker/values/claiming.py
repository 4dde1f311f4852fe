"""Taking a place in a bucket for values: finding out whose it is, and whether the object store can be trusted with it.

An object store has no locks. The object `owner` names the database whose values these are, and the start of the broker
that has them: one that was started later on the same database has them from then on, and the earlier one deletes no
more.
"""

import secrets

from dagorama_broker.values.faults import StoreAway, StoreUnusable, names_some
from dagorama_broker.values.objects import Mark, NoRoom, Objects, settings_of

OWNER = "owner"
_FORM = "dagorama values 1"

#: What is wrong with an object store without conditional writes, and the way out.
_TWO_BROKERS = "So two brokers could take the same place, and each would remove the values of the other"
_CONDITIONAL = (
    "Name a place on an object store that has conditional writes. Where nobody but this broker will ever use this one, "
    "say so with AWS_CONDITIONAL_PUT=disabled"
)


def claim(objects: Objects, owner_id: bytes, values: str, *, is_used: bool) -> bytes:
    """Take a place in a bucket; return what its object `owner` has from now on. `values` is the folder of values.

    Raises `StoreUnusable`.
    """
    try:
        return _claim(objects, owner_id, values, is_used=is_used)
    except StoreAway as error:
        raise StoreUnusable(objects.location, *_reason(error, settings_of(objects.location))) from error
    except NoRoom as error:
        raise StoreUnusable(objects.location, "the object store says that it is full") from error


def _claim(objects: Objects, owner_id: bytes, values: str, *, is_used: bool) -> bytes:
    mark, found = objects.mark(OWNER), read_owner(objects)
    first = f"{_FORM}\n{owner_id.hex()}\n".encode()
    if found is None:
        _check_empty(objects, is_used=is_used)
    elif found and not found.startswith(first):
        _check_free(objects, found, values)
    ours = first + f"{secrets.token_hex(16)}\n".encode()
    if found is None:
        is_taken = objects.create(OWNER, ours)
    else:
        is_taken = mark is not None and objects.replace(OWNER, ours, _checked(objects, mark))
    if not is_taken:
        raise StoreUnusable(
            objects.location,
            "another broker has taken it at this moment",
            "Stop that one, or name another place in DAGORAMA_VALUES",
        )
    _check_conditions(objects, ours, is_new=found is None)
    if read_owner(objects) != ours:
        raise StoreUnusable(objects.location, f"object {OWNER} reads back otherwise than it was written")
    return ours


def _checked(objects: Objects, mark: Mark) -> Mark:
    """Return the mark of what is to be replaced; raise `StoreUnusable` where an object store gives none."""
    if not mark and objects.is_conditional:
        problem = "it does not tell by what the content of an object is known (ETag)"
        raise StoreUnusable(objects.location, f"{problem}. {_TWO_BROKERS}", _CONDITIONAL)
    return mark


def read_owner(objects: Objects) -> bytes | None:
    """Return what a place says of its owner, None where it says nothing."""
    found = objects.get(OWNER)
    return None if found is None else bytes(found)


def _check_empty(objects: Objects, *, is_used: bool) -> None:
    """Raise `StoreUnusable` where a place without an owner is not to be taken."""
    strange = [one.name for one in objects.names("", limit=5)]
    if strange:
        raise StoreUnusable(
            objects.location,
            f"it is no store of values, as it has {names_some(strange)}",
            "Name a prefix in DAGORAMA_VALUES under which there is nothing",
        )
    if is_used:
        raise StoreUnusable(
            objects.location,
            "nothing is there, and the database refers to values that are kept in it",
            "Name the place where they are in DAGORAMA_VALUES. To go on without these values, put an empty object "
            f"{OWNER} there",
        )


def _check_free(objects: Objects, found: bytes, values: str) -> None:
    """Raise `StoreUnusable` where the values are another's."""
    if not found.startswith(f"{_FORM}\n".encode()):
        shown = found[:40].decode("utf-8", "replace").strip()
        raise StoreUnusable(
            objects.location,
            f"its values are in a form that this version of dagorama does not know ({shown!r})",
            "Start the newer version that wrote it, or name another place in DAGORAMA_VALUES",
        )
    if objects.names(values, limit=1):
        raise StoreUnusable(
            objects.location,
            "its values belong to another broker's database, and this one would take them for unused",
            "Name another place in DAGORAMA_VALUES; or remove all objects there, if that database is no more",
        )


def _check_conditions(objects: Objects, ours: bytes, *, is_new: bool) -> None:
    """Raise `StoreUnusable` where the object store writes over an object that it was told to leave."""
    if not objects.is_conditional:
        return
    try:
        if not objects.create(OWNER, ours):
            return
        problem = "it writes over an object although it was told not to (If-None-Match)"
    except StoreAway as error:
        if "NotImplemented" not in error.problem and "501" not in error.problem:
            raise
        problem = f"it does not know conditional writes ({error.problem})"
    if is_new:
        objects.delete([OWNER])
    raise StoreUnusable(objects.location, f"{problem}. {_TWO_BROKERS}", _CONDITIONAL)


def _reason(error: StoreAway, settings: str) -> tuple[str, str]:
    """Return why a place cannot be taken at a start, and the way out."""
    if error.is_missing:
        return f"there is no such bucket ({error.problem})", "Make it, or name another one in DAGORAMA_VALUES"
    if error.is_refusal:
        return (
            f"the object store does not let us ({error.problem})",
            f"Look whether the credentials are right, and may list, read, write and delete there: {settings}",
        )
    return (
        f"the object store does not answer as one ({error.problem})",
        f"Look whether it can be reached from here, and whether these are set and right: {settings}",
    )
