"""Payloads: arguments and results of users' functions as bytes, with the promises in them replaced and found.

The format is pickle, protocol 5. Finding promises is left to pickle too: it meets every object at any depth, so sets,
dict keys, dataclasses, named tuples and objects of any other kind need nothing of their own.

Large buffers in a value are stored on their own, and the payload refers to them (`references`); so is the pickle itself
where it is large all the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import iscoroutine
from io import BytesIO
from itertools import islice
from pickle import PickleBuffer
from typing import Any, NamedTuple, cast
from uuid import UUID

from dagorama.calls.json_form import BEGIN, JsonText
from dagorama.calls.large import INLINE_MIN, Content, NoStore, TooLarge, ValueStore, inline_max
from dagorama.calls.pickling import PROTOCOL, Buffer, Copying, Pickling, Pieces, are_bytes, size_of, unpickled
from dagorama.calls.placeholders import MARK, SOME_ARE_KEYS, SOME_ARE_STORED, exchange
from dagorama.calls.promise_keys import dump_with_keys, dumps_with_keys
from dagorama.calls.references import (
    ORDER_BYTES_MAX,
    REFERENCES_MAX,
    REFERENCES_MAX_OF_BROKER,
    BadReferences,
    Reference,
    is_referring,
    read_order,
    read_references,
    write_order,
    write_references,
)
from dagorama.errors import DagoramaError, PayloadError

_PLACEHOLDER = MARK

#: What is exactly of these types holds no promise.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})

#: Ready to pickle.
_idle: list[Pickling] = []
#: One with a larger table of objects is dropped: the table is emptied for each value, which takes longer than a new one
#: where there were some hundred objects in it.
_IDLE_BYTES_MAX = 4 * 1024
#: A pickle of more bytes, and the buffer for it, is large: nothing of it is kept for others. Smaller ones are never too
#: large for a payload, so nothing is asked of the settings for them.
_SMALL_BYTES_MAX = INLINE_MIN
#: How many parts of a value are looked at for the one that is too large.
_SEARCH_PARTS_MAX = 10_000

#: The same where it is not yet known whether one will be too large.
_PLACES_PARTS_MAX = 1_000
#: Longer keys, and those further from 0, are in no path.
_KEY_CHARS_MAX, _KEY_END = 50, 2**63
#: A path of more characters is gone no further.
_PLACE_CHARS_MAX = 100

#: So much of a large pickle is enough to show people how it begins.
_SHOWN_BYTES = 4 * 1024

#: How deep the search for the part that does not encode goes; deeper than that its path tells nobody anything.
SEARCH_DEPTH_MAX = 20


class Payload(NamedTuple):
    """An encoded value, and the id of each promise in it, once, in the order in which they were met."""

    data: bytes
    promise_ids: tuple[bytes, ...]


#: Makes one of (data, promise_ids): the class itself takes twice as long.
_payload: Callable[[tuple[bytes, tuple[bytes, ...]]], Payload] = partial(tuple.__new__, Payload)

#: What one message has room for: protobuf ends at 2 GiB, and ids and columns take some of it.
MESSAGE_BYTES_MAX = 2**31 - 2**24


def encode(value: object, *, what: str) -> Payload:
    """Encode a value for its way to the broker; `what` names it in the `PayloadError` raised where it cannot be."""
    try:
        payload = _dumped(value)
    except Exception as error:
        raise _cannot_encode(value, what, error) from error
    data = payload.data
    if len(data) > MESSAGE_BYTES_MAX:
        raise PayloadError(
            what=what,
            problem=f"it has {len(data)} bytes; the limit is {MESSAGE_BYTES_MAX} bytes",
            way_out="Keep the data in a file or a store that all workers reach, and pass its name.",
        )
    return payload


class Draft:
    """A value that is pickled, with parts that are too large for a payload and have to be stored first."""

    def __init__(
        self,
        pieces: Pieces,
        promise_ids: tuple[bytes, ...],
        value: object,
        what: str,
        stored: Sequence[Reference] = (),
    ) -> None:
        """Keep the value as it is: it may not be changed before `keep`. It needs values that are `stored` already."""
        self._pieces = pieces
        self._promise_ids = promise_ids
        self._value = value
        self._what = what
        self._stored = stored
        self._references: Sequence[Reference] = ()  #: of its buffers, in their order, once they are stored

    def beginning(self) -> bytes:
        """Return the beginning of the pickle, where it is too large for the payload; else nothing."""
        first = self._pieces.stream[0]
        is_large = sum(map(size_of, self._pieces.stream)) > inline_max()
        return bytes(first[:_SHOWN_BYTES]) if is_large else b""

    def keep(
        self, store: ValueStore, parts: Callable[[], Mapping[str, object]] | None = None, *, name: str = "value"
    ) -> Payload:
        """Store what is large; return the payload that refers to it.

        `parts` names the parts of the value as people know them; without it the value has a `name`. Raises
        `PayloadError` for what is over a limit, naming the part, for what was put and is not stored any more, and what
        the store raises.
        """
        try:
            return Payload(self._kept(store), self._promise_ids)
        except NoStore:
            if self._stored:
                raise PayloadError(
                    what=self._what,
                    problem="it needs a value that was put, and this broker, of an earlier version, has no store",
                    way_out="Put the value where this broker is the one that is asked.",
                ) from None
            return encode(self._value, what=self._what)
        except TooLarge as error:
            is_it = partial(_is_of, error.content)
            part = part_in(parts(), is_it) if parts is not None else part_in({name: self._value}, is_it)
            raise too_large(error, self._what, "" if part == name else part) from None

    def places(self, parts: Mapping[str, object] | None = None, *, name: str = "value") -> dict[bytes, str]:
        """Return the paths to the large parts that `keep` has stored, by their digests, as far as they are soon found.

        `parts` and `name` are as for `keep`. No key is asked how it looks, and no error is raised: the paths serve
        people alone, and others may change the value meanwhile.
        """
        found: dict[bytes, str] = {}
        with suppress(Exception):
            left: dict[int, bytes] = {}
            for buffer, reference in zip(self._pieces.buffers, self._references, strict=False):
                with memoryview(buffer) as view:
                    left[id(view.obj)] = reference.digest
            queue = list(({name: self._value} if parts is None else parts).items())
            for path, part in queue:
                if not left:
                    break
                digest = left.pop(id(part), None)
                if digest is not None and path != name:
                    found[digest] = path
                elif len(queue) < _PLACES_PARTS_MAX and len(path) < _PLACE_CHARS_MAX:
                    with suppress(Exception):  # such as of a property `__dict__`: others are looked at none the less
                        queue += [(path + step, inner) for step, inner in _plain_parts(part)]
        return found

    def _kept(self, store: ValueStore) -> bytes:
        if self._stored:
            _check_count(len(self._stored), self._what)
            store.confirm(self._stored, self._what)
        references = store.put([Content([buffer], is_object=True) for buffer in self._pieces.buffers])
        self._references = references
        distinct = list(dict.fromkeys(references))
        stream = self._pieces.stream
        if len(distinct) < len(references):
            places = {reference: place for place, reference in enumerate(distinct)}
            stream = [write_order([places[reference] for reference in references]), *stream]
        # Buffers are the references from the first on: those after them are for the payloads of what was put.
        distinct = list(dict.fromkeys([*distinct, *self._stored]))
        content = Content(stream)
        if content.size <= inline_max():
            return write_references(distinct, b"".join(stream))
        return write_references([*distinct, *store.put([content])], None)


def too_large(error: TooLarge, what: str, part: str = "") -> PayloadError:
    """Make the error of a value, or a part of it, that is larger than the store takes."""
    has = f"its part {part} has" if part else "it has"
    return PayloadError(
        what=what,
        problem=f"{has} {error.content.size} bytes; the limit for a value is {error.limit} bytes "
        "(DAGORAMA_VALUE_MAX of the broker)",
        way_out="Pass it in parts, or keep it in a file or a store that all workers reach, and pass its name.",
        is_everywhere=True,
    )


def _check_count(count: int, what: str) -> None:
    """Raise `PayloadError` for more values that were put than a payload refers to."""
    if count + REFERENCES_MAX > REFERENCES_MAX_OF_BROKER:
        raise PayloadError(
            what=what,
            problem=f"it needs {count} values that were put; the limit is {REFERENCES_MAX_OF_BROKER - REFERENCES_MAX}",
            way_out="Put lists of them, or gather them in several nodes.",
        )


def keep_whole(data: bytes, store: Callable[[], ValueStore]) -> bytes:
    """Store a payload that is large as one value, and return the payload that refers to it; any other as it is.

    Raises `TooLarge`.
    """
    references, stream = read_references(data) if is_referring(data) else ((), data)
    if stream is None or len(stream) <= inline_max():
        return data
    try:
        return write_references([*references, *store().put([Content([stream])])], None)
    except NoStore:
        return data


def draft(value: object, *, what: str) -> Payload | Draft:
    """Encode a value like `encode`; where something in it is large, return a draft, which is to be kept next."""
    kind = type(value)
    if kind in _PLAIN and ((kind is not bytes and kind is not str) or len(cast(str, value)) < _SMALL_BYTES_MAX):
        return _payload((pickle.dumps(value, PROTOCOL), ()))
    recorded: dict[bytes, object] = {}
    try:
        pickling = _idle.pop()
    except IndexError:
        pickling = Pickling(inline_max())
    here = exchange.__dict__  # this thread's: to look it up takes longer than the rest
    outer = here.get("recorded")
    here["recorded"] = recorded
    try:
        pickling.dump(value)
        pieces = pickling.pieces
        is_small = len(pieces) == 1 and len(pieces[0]) <= _SMALL_BYTES_MAX and not pickling.buffers
        if is_small and (not recorded or (SOME_ARE_KEYS not in recorded and SOME_ARE_STORED not in recorded)):
            data = pieces.pop()
            pickling.clear()
            if pickling.memory_bytes() <= _IDLE_BYTES_MAX:
                _idle.append(pickling)
            return _payload((data, tuple(recorded)))
        return _drafted(value, what, pickling, recorded)
    except Exception as error:
        raise _cannot_encode(value, what, error) from error
    finally:
        here["recorded"] = outer


def draft_arguments(args: tuple[object, ...], kwargs: dict[str, object], *, what: str) -> Payload | Draft:
    """Encode the arguments of a call like `draft`, in half the time where all of them are plain and small."""
    if not kwargs:
        for value in args:
            kind = type(value)
            if kind not in _PLAIN or ((kind is str or kind is bytes) and len(cast(str, value)) >= _SMALL_BYTES_MAX):
                break
        else:
            data = pickle.dumps((args, kwargs), PROTOCOL)
            if len(data) <= _SMALL_BYTES_MAX:
                return _payload((data, ()))
    return draft((args, kwargs), what=what)


def _drafted(value: object, what: str, pickling: Pickling, recorded: dict[bytes, object]) -> Payload | Draft:
    """Return what was pickled, once more where promises may be keys."""
    if SOME_ARE_KEYS in recorded:
        recorded.clear()
        pickling = Pickling(inline_max())
        dump_with_keys(value, PROTOCOL, Copying(pickling), pickling.stays)
        recorded.pop(SOME_ARE_KEYS, None)
    taken = pickling.take()
    pickling.clear()
    stored = _stored_in(recorded)
    promise_ids = tuple(recorded)
    if not isinstance(taken, Pieces):
        if len(taken) <= pickling.inline_max and not stored:
            return _payload((taken, promise_ids))
        taken = Pieces([taken], [])
    elif not taken.buffers and not stored and sum(map(size_of, taken.stream)) <= pickling.inline_max:
        return _payload((b"".join(taken.stream), promise_ids))
    return Draft(taken, promise_ids, value, what, stored)


def _stored_in(recorded: dict[bytes, object]) -> list[Reference]:
    """Take the references of values that were put from among what was met."""
    return list(cast("dict[Reference, None]", recorded.pop(SOME_ARE_STORED, {})))


def part_in(parts: Mapping[str, object], is_it: Callable[[object], bool]) -> str:
    """Return the path to the first part of some values that is wanted, from the name of its value on; "" for none."""
    paths = ((name, _path_to(value, is_it)) for name, value in parts.items())
    return next((f"{name}{path}" for name, path in paths if path is not None), "")


def _path_to(value: object, is_it: Callable[[object], bool]) -> str | None:
    """Return the path from a value to the part that is wanted; None where it has no such part."""
    left: list[tuple[str, object, int]] = [("", value, 0)]
    for path, part, depth in left:
        if is_it(part):
            return path
        if depth < SEARCH_DEPTH_MAX and len(left) < _SEARCH_PARTS_MAX:
            left += [(path + step, inner, depth + 1) for step, inner in _parts(part)]
    return None


def _is_of(content: Content, part: object) -> bool:
    """Return whether a content is the bytes of an object."""
    for one in content.parts:
        if one is part:
            return True
        with memoryview(one) as view:
            if view.obj is part:
                return True
            if type(part) is str and view.nbytes > _SMALL_BYTES_MAX and part.encode("utf-8", "surrogatepass") == one:
                return True
    return False


def is_stored_as(reference: Reference, part: object) -> bool:
    """Return whether the bytes of an object are a value that was stored."""
    if type(part) is str:
        if not len(part) <= reference.size <= 4 * len(part):
            return False
        return Content([part.encode("utf-8", "surrogatepass")]).is_of(reference)
    try:
        with PickleBuffer(cast(Any, part)).raw() as view:
            return Content([view]).is_of(reference)
    except (TypeError, BufferError):
        return False


def encode_if_possible(value: object) -> Payload | None:
    """Encode a value, or gives None where it cannot be; why not is found out where it matters."""
    try:
        return _dumped(value)
    except Exception:
        return None


def _dumped(value: object) -> Payload:
    """Pickle a value; one with promises that may be keys with the check of those."""
    if type(value) in _PLAIN:
        return _payload((pickle.dumps(value, PROTOCOL), ()))
    recorded: dict[bytes, object] = {}
    outer = exchange.recorded
    exchange.recorded = recorded
    try:
        data = pickle.dumps(value, PROTOCOL)
        if not recorded:
            return _payload((data, ()))
        if SOME_ARE_KEYS in recorded:
            recorded.clear()
            data = dumps_with_keys(value, PROTOCOL)
            recorded.pop(SOME_ARE_KEYS, None)
        stored = _stored_in(recorded)
        return Payload(write_references(stored, data) if stored else data, tuple(recorded))
    finally:
        exchange.recorded = outer


def decode(
    data: bytes,
    resolve: Callable[[bytes], object],
    *,
    what: str = "a payload",
    store: ValueStore | None = None,
) -> object:
    """Decode a payload, with `resolve(id)`, asked once for each, as the value of the promises in it.

    `what` names the payload in the `PayloadError` that is raised where it cannot be decoded here. So it is when
    `resolve` fails, but for errors of dagorama, which pass through. `store` has the values that it refers to; buffers
    among them cannot be written to. Of arguments that were stored as JSON it gives the text.
    """
    here = exchange.__dict__  # as in `draft`
    outer = here.get("value_of")
    here["value_of"] = _asked_once(resolve) if _PLACEHOLDER in data else resolve
    try:
        return pickle.loads(data)
    except DagoramaError:
        raise
    except Exception as error:
        if not is_referring(data):
            raise _cannot_decode(data, what, error, _PLACEHOLDER in data) from error
    finally:
        here["value_of"] = outer
    return _decode_referring(data, resolve, what, store)


def _decode_referring(data: bytes, resolve: Callable[[bytes], object], what: str, store: ValueStore | None) -> object:
    """Decode a payload whose large parts are stored elsewhere."""
    try:
        references, stream = read_references(data)
    except BadReferences as error:
        raise _cannot_decode(b"", what, error) from error
    if store is None:
        raise PayloadError(
            what=what,
            problem=f"it refers to {len(references)} large values, and there is no store here that has them",
            way_out="Ask for it where a broker is connected.",
        )
    as_bytes = stream is not None and are_bytes(stream, len(references))
    contents = list(store.get(references, what, as_bytes=as_bytes))
    whole: Buffer = contents.pop() if stream is None else stream
    if not contents and bytes(memoryview(whole)[: len(BEGIN)]) == BEGIN:
        return JsonText(whole)
    buffers: Sequence[Buffer] = ()
    outer = exchange.value_of, exchange.stored
    exchange.value_of, exchange.stored = _asked_once(resolve), partial(_stored_value, store, what)
    try:
        whole, buffers = _ordered(whole, contents)
        return unpickled(whole, buffers)
    except DagoramaError:
        raise
    except Exception as error:
        raise _cannot_decode(whole, what, error, True, buffers) from error
    finally:
        exchange.value_of, exchange.stored = outer


def _stored_value(store: ValueStore, what: str, payload: bytes) -> object:
    """Return a value that was put, for a payload that has it within."""
    references, stream = read_references(payload)
    as_bytes = stream is not None and are_bytes(stream, len(references))
    contents = list(store.get(references, what, as_bytes=as_bytes))
    return unpickled(*_ordered(contents.pop() if stream is None else stream, contents))


def _ordered(stream: Buffer, contents: Sequence[Buffer]) -> tuple[Buffer, Sequence[Buffer]]:
    """Return the pickle in a stream, and its buffers in their order."""
    with memoryview(stream) as view:
        places, begins = read_order(bytes(view[:ORDER_BYTES_MAX]))
    if places is None:
        return stream, contents
    return memoryview(stream)[begins:], [contents[place] for place in places]


def _cannot_decode(
    data: Buffer, what: str, error: Exception, has_promises: bool = False, buffers: Sequence[Buffer] = ()
) -> PayloadError:
    """Make the error of a payload that cannot be decoded here."""
    problem = f"({type(error).__name__}: {error})"
    if has_promises and isinstance(error, TypeError) and "unhashable type" in str(error):
        return PayloadError(
            what=what,
            problem=f"the value of a promise cannot be what the promise is, a key or a member of a set {problem}",
            way_out="Put the promise into a list or among the values, or have the function give what can be a key.",
            is_everywhere=True,
        )
    return PayloadError(
        what=what,
        problem=f"it cannot be decoded here {problem}",
        way_out="Whoever reads it needs the same modules, at fitting versions, as whoever wrote it.",
        lacks=_lacking(data, buffers),
    )


def _asked_once(resolve: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Remember the result of `resolve` for each id."""
    values: dict[bytes, object] = {}

    def value_of(node_id: bytes) -> object:
        if node_id not in values:
            values[node_id] = resolve(node_id)
        return values[node_id]

    return value_of


class _Finder(pickle.Unpickler):
    """Decodes a payload that does not decode, to see whether that is for want of a class or function."""

    lacking = ""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Import the class that pickle names, and note where it cannot be."""
        try:
            return super().find_class(module_name, global_name)
        except Exception:
            self.lacking = f"{module_name}:{global_name}"
            raise


def _lacking(data: Buffer, buffers: Sequence[Buffer] = ()) -> str:
    """Return the class that a payload needs and that cannot be imported here, as "module:Name"; "" for none."""
    finder = _Finder(BytesIO(data), buffers=buffers)
    with suppress(BaseException):  # it is the user's code that runs
        finder.load()
    return finder.lacking


def decode_value(
    data: bytes, resolve: Callable[[bytes], object], node_id: bytes, store: ValueStore | None = None
) -> object:
    """Decode a node's value for a payload that refers to it; like `decode`, but quick where no promise is to be seen.

    Some may be there all the same, in what an object has pickled and compressed by itself.
    """
    if _PLACEHOLDER not in data:
        here = exchange.__dict__
        outer = here.get("value_of")
        here["value_of"] = resolve
        try:
            return pickle.loads(data)
        except Exception:  # it is told by `decode`, with the name of the node
            pass
        finally:
            here["value_of"] = outer
    return decode(data, resolve, what=f"the value of node {UUID(bytes=node_id)}", store=store)


def may_have_promises(data: bytes) -> bool:
    """Return whether a payload may have promises in it; one whose stream is stored elsewhere may always."""
    return _PLACEHOLDER in data or is_referring(data)


def no_promises(node_id: bytes) -> object:
    """Be the `resolve` of payloads that hold no promises."""
    raise KeyError(f"the value of node {UUID(bytes=node_id)} is not here")


def _cannot_encode(value: object, what: str, error: Exception) -> PayloadError:
    """Make the error that names the innermost part of `value` that does not encode."""
    path, part = _offender(value)
    problem = f"cannot be encoded ({type(error).__name__}: {error})"
    if path:
        problem = f"its part {path}, a {type(part).__qualname__}, {problem}"
    way_out = "Pass plain data that pickle can carry, and make such an object inside the function that uses it."
    if iscoroutine(part):
        way_out = (
            "Await it: the call of an asynchronous function gives its promise only then. A decorator between "
            "@dagorama() and an asynchronous function has to give an asynchronous one."
        )
    if isinstance(error, RecursionError):
        way_out = (
            "It is nested deeper than pickle goes: pass it flat, as a list of rows or a text such as JSON, or give its "
            "class a __reduce__ that does."
        )
    return PayloadError(what=what, problem=problem, way_out=way_out)


def _offender(value: object) -> tuple[str, object]:
    """Walk down from a value that does not encode to the innermost part that doesn't. Returns its path, and itself."""
    path = ""
    for _ in range(SEARCH_DEPTH_MAX):
        inner = next(((step, part) for step, part in _parts(value) if not _encodes(part)), None)
        if inner is None:
            break
        path += inner[0]
        value = inner[1]
    return path, value


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of a value that an ordinary pickle would hold, each with the step that leads to it."""
    if isinstance(value, dict):
        for key, part in value.items():
            name = _shown(key)
            yield f".key({name})", key
            yield f"[{name}]", part
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f".member({_shown(part)})", part) for part in value)
    elif not isinstance(value, type):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _shown(key: object) -> str:
    """Return a key for people, also where its class does not show it."""
    try:
        return repr(key)
    except Exception:
        return f"a {type(key).__qualname__}"


def _plain_parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield those parts of a value to which a short step leads. Others may change it meanwhile."""
    kind = type(value)
    if kind is dict:
        for key, part in list(islice(cast("dict[object, object]", value).items(), _PLACES_PARTS_MAX)):
            if (type(key) is int and abs(key) < _KEY_END) or (type(key) is str and len(key) <= _KEY_CHARS_MAX):
                yield f"[{key!r}]", part
    elif kind is list or kind is tuple:
        for index, part in enumerate(islice(cast("Sequence[object]", value), _PLACES_PARTS_MAX)):
            yield f"[{index}]", part
    elif kind not in _PLAIN and not isinstance(value, type):
        own: dict[str, object] = object.__getattribute__(value, "__dict__")
        for name, part in list(islice(own.items(), _PLACES_PARTS_MAX)):
            if type(name) is str and len(name) <= _KEY_CHARS_MAX:
                yield f".{name}", part


def _encodes(value: object) -> bool:
    """Return whether a value encodes by itself."""
    try:
        pickle.dumps(value, PROTOCOL)
    except Exception:
        return False
    return True
