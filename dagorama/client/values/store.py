"""The store of a broker, as a process uses it: each value is sent once, and fetched once for all processes of a host.

On the broker's own host the files are the store's: they are written into its directory, and mapped from there.
Elsewhere values travel in chunks, by way of a cache of this host's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache as once
from functools import cached_property
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from time import monotonic

from dagorama.calls.large import Content, NoStore, TooLarge, put_is_gone
from dagorama.calls.pickling import Buffer
from dagorama.calls.references import Reference, is_referring, read_references
from dagorama.client.values.cache import Cache, cache_bytes_max, cache_directory
from dagorama.client.values.checked import Checked
from dagorama.client.values.fetching import Fetcher, map_file
from dagorama.client.values.host import HostStore, proved
from dagorama.client.values.keeping import Keeper
from dagorama.client.values.mapped import Mapped
from dagorama.client.values.progress import Progress
from dagorama.client.values.recent import RecentValues
from dagorama.client.values.spooling import Spooled, spool
from dagorama.client.values.wire import Description, Wire, lost
from dagorama.errors import BrokerRefused, PayloadError
from dagorama.logging import get_logger

#: So long it is taken for sure that the store has what it had, of no more than so many values. It keeps it for longer.
SURE_S, _SURE_MAX = 20 * 60.0, 10_000
#: So long the layout of the store is taken for what it was: the broker may restart with another.
DESCRIBED_S = 60.0


class _Owner:
    """Values are kept for as long as one lives."""


class RemoteValues:
    """Stores and gives the values of one broker. Any thread may call it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        patience_s: float | None = None,
        shows: bool = False,
        recent: RecentValues | None = None,
    ) -> None:
        """Connect when there is something to do. Wait for a broker that is away for so long; None: as is set.

        With `shows` people see how far a long transfer has come. Nodes that come later find values in `recent`.
        """
        self._address = host, port
        self._patience_s = patience_s
        self._shows = shows
        self._recent = recent
        self._mapped = Mapped(Checked(_own_directory))
        self._lock = threading.Lock()
        self._described: tuple[Description | None, float] | None = None
        #: The proof by which the store's directory was last found on this host.
        self._proof = ""
        #: When a value was known to be in the store, by `time.monotonic()`.
        self._sure: dict[bytes, float] = {}

    @cached_property
    def _keeper(self) -> Keeper:
        return Keeper(self._ask_for, self._sure_s)

    @cached_property
    def _wire(self) -> Wire:
        return Wire(*self._address, self._patience_s)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self._wire, self._mapped, shows=self._shows)

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Store values; see `ValueStore`."""
        self._check_sizes(contents)
        try:
            return self._put_all(contents)
        except BrokerRefused:
            with self._lock:
                self._described = None
            self._check_sizes(contents)  # the broker may have been started anew, with another limit
            raise

    def _check_sizes(self, contents: Sequence[Content]) -> None:
        """Raise `TooLarge` for a value that is over the broker's limit, and `NoStore`."""
        bytes_max = self._description().value_bytes_max
        for content in contents:
            if bytes_max and content.size > bytes_max:
                raise TooLarge(content, bytes_max)

    def _put_all(self, contents: Sequence[Content]) -> Sequence[Reference]:
        references: list[Reference] = []
        while_others_come = _Owner()
        for content in contents:
            references.append(self._put(content))
            if len(references) < len(contents):
                self._keeper.hold(while_others_come, [references[-1]])
        return references

    def confirm(self, references: Sequence[Reference], what: str) -> None:
        """Ask for the values that are not surely there; see `ValueStore`. One that is at hand here is stored anew."""
        self._description()  # raises `NoStore`
        unsure = [reference for reference in references if not self._is_there(reference)]
        for reference in self._missing(unsure):
            if not self._put_anew(reference.digest):
                raise put_is_gone(reference, what)
        for reference in unsure:
            self._is_sure(reference)

    def put_again(self, digests: Sequence[bytes]) -> None:
        """Store values anew that the store has lost; raise `PayloadError` for one that is not at hand any more."""
        not_at_hand = [digest for digest in digests if not self._put_anew(digest)]
        gone = list(self._wire.find(not_at_hand))  # those of a store that was away were there all the time
        if gone:
            raise PayloadError(
                what="a payload that was stored in part",
                problem=f"the store of the broker has lost the value {gone[0].hex()[:16]}..., and it is not at hand "
                "here any more",
                way_out="Put it again, make the call again, or run the node again.",
            )

    def _put_anew(self, digest: bytes) -> bool:
        """Store a value that the store has lost; return whether this process, or the cache of its host, had it."""
        self._sure.pop(digest, None)
        mapped = self._mapped.bytes_of(digest)
        made = self._recent.objects.get(digest) if mapped is None and self._recent is not None else None
        at_hand = made if mapped is None else mapped.bytes
        if at_hand is not None:
            self._put(Content([at_hand]))
            return True
        found = self._in_cache(digest)
        if found is not None:
            self._upload(*found)
        return found is not None

    def _in_cache(self, digest: bytes) -> tuple[Reference, memoryview] | None:
        """Return a value by its file in the cache of this host; None where there is none with its bytes."""
        cache = _cache()
        reference = cache.find(digest) if cache is not None else None
        if cache is None or reference is None:
            return None
        descriptor = cache.open(reference)
        whole = map_file(self._mapped, reference, descriptor) if descriptor is not None else None
        return None if whole is None else (reference, memoryview(whole))

    def hold(self, owner: object, payload: bytes, *, at_once: bool = False) -> None:
        """Keep the values that a payload refers to; see `ValueStore`."""
        if is_referring(payload):
            self._keeper.hold(owner, read_references(payload).references, at_once=at_once)

    def _ask_for(self, references: Sequence[Reference]) -> None:
        """Have the store keep values for another while; one that it has lost is stored anew, if it is at hand."""
        self._description()  # says for how long that is
        for reference in self._missing(references):
            self._put_anew(reference.digest)

    def _missing(self, references: Sequence[Reference]) -> list[Reference]:
        """Return the values that the store lacks, or has cut short; it keeps the others for another while."""
        missing = self._wire.find([one.digest for one in references], [one.size for one in references])
        return [reference for reference in references if reference.digest in missing]

    def get(self, references: Sequence[Reference], what: str, *, as_bytes: bool = False) -> Sequence[Buffer]:
        """Return values, mapped from files where they have one; see `ValueStore`."""
        try:
            return [self._get_recent(reference, what, as_bytes=as_bytes) for reference in references]
        except NoStore:
            raise lost(references[0], what, "it is of a version that has no store of values") from None

    # -- storing -------------------------------------------------------------------------------------------------------

    def _put(self, content: Content) -> Reference:
        part = content.parts[0] if content.is_object else None
        if type(part) is not bytes or self._recent is None:
            return self._put_any(content)
        known = self._recent.objects.reference_of(part)
        if known is not None and self._has(known):
            return known
        reference = self._put_any(content)
        self._recent.objects.keep(reference, part)
        return reference

    def _put_any(self, content: Content) -> Reference:
        known = self._mapped.known(content)
        if known is not None and self._has(known):
            return known
        host = self._host()
        spooled = spool(content, host.spools, syncs=True) if host is not None else None
        is_at_host, cache = spooled is not None, _cache()
        if spooled is None and cache is not None:
            spooled = spool(content, cache.directory)
        if spooled is None:
            return self._put_from_memory(content)
        try:
            mapping = self._map_own(spooled)
            if not (is_at_host and self._is_adopted(spooled)):
                self._upload(spooled.reference, content.whole() if mapping is None else memoryview(mapping))
                if not is_at_host:
                    self._keep_in_cache(spooled)
            if mapping is not None and len(content.parts) == 1:
                self._mapped.remember(content, spooled.reference, mapping)
            return spooled.reference
        finally:
            os.close(spooled.descriptor)
            with suppress(OSError):
                os.unlink(spooled.path)  # unless it is the store's, or the cache's

    def _map_own(self, spooled: Spooled) -> mmap | None:
        """Map a file that this process has written; None where there is nothing in it, or no room for a mapping."""
        try:
            return self._mapped.map(spooled.reference, spooled.descriptor) if spooled.reference.size else None
        except OSError:
            return None

    def _has(self, reference: Reference) -> bool:
        """Return whether the store has a value, and keeps it for a while."""
        if self._is_there(reference):
            return True
        if self._missing([reference]):
            return False
        self._is_sure(reference)
        return True

    def _is_there(self, reference: Reference) -> bool:
        """Return whether it is known without asking that the store has a value, and keeps it for a while."""
        known_at = self._sure.get(reference.digest)
        return known_at is not None and known_at + self._sure_s() > monotonic()

    def _is_sure(self, reference: Reference) -> None:
        self._sure.pop(reference.digest, None)
        self._sure[reference.digest] = monotonic()
        if len(self._sure) > _SURE_MAX:
            for oldest in list(self._sure)[: _SURE_MAX // 10]:  # at once: other threads add some
                self._sure.pop(oldest, None)

    def _sure_s(self) -> float:
        """Return for how long a value is surely there: a broker may have been told to keep them for less than it does
        by itself.
        """
        described = self._described
        unused_s = described[0].unused_s if described is not None and described[0] is not None else 0.0
        return min(SURE_S, unused_s / 3) if unused_s else SURE_S

    def _is_adopted(self, spooled: Spooled) -> bool:
        """Give a file in the store's own directory to the store, unless it has the value; return whether it has then.

        A broker of another user may not be able to take it.
        """
        if self._has(spooled.reference):
            return True
        os.fsync(spooled.descriptor)
        try:
            self._wire.adopt(spooled.reference, os.path.basename(spooled.path))
        except BrokerRefused as refused:
            get_logger().debug("the value %s is sent: %s", spooled.reference, refused)
            return False
        self._is_sure(spooled.reference)
        self._mapped.wrote(spooled.reference, spooled.descriptor)
        return True

    def _put_from_memory(self, content: Content) -> Reference:
        """Store a value that there is no file for."""
        whole = content.whole()
        reference = Reference(sha256(whole).digest(), whole.nbytes)
        self._upload(reference, whole)
        return reference

    def _upload(self, reference: Reference, whole: memoryview) -> None:
        missing = self._wire.find([reference.digest], [reference.size])
        if missing:
            with Progress("storing", reference.size, shows=self._shows) as told:
                chunk_bytes = self._description().chunk_bytes
                self._wire.put(reference, whole, missing[reference.digest], chunk_bytes, told)
        self._is_sure(reference)

    def _keep_in_cache(self, spooled: Spooled) -> None:
        """Have the other processes of this host find what was just sent."""
        cache = _cache()
        if cache is not None:
            with suppress(OSError):
                cache.finish(spooled.reference, spooled.path)
                self._mapped.wrote(spooled.reference, spooled.descriptor)

    # -- fetching ------------------------------------------------------------------------------------------------------

    def _get_recent(self, reference: Reference, what: str, *, as_bytes: bool) -> Buffer:
        """Return a value, as the object that nodes have had of it lately; with `as_bytes` as such, unless too large."""
        if self._recent is None:
            return self._get(reference, what)
        objects, mappings = self._recent.objects, self._recent.mappings
        if as_bytes and objects.fits(reference):
            found = objects.get(reference.digest)
            return found if found is not None else objects.keep(reference, bytes(self._get(reference, what)))
        buffer = self._get(reference, what)
        mapping = self._mapped.get(reference)
        if mapping is not None:
            mappings.keep(reference, mapping)
        return buffer

    def _get(self, reference: Reference, what: str) -> Buffer:
        try:
            return self._fetched(reference, what)
        except PayloadError:
            if self._missing([reference]):
                raise
            return self._fetched(reference, what)  # somebody has put it anew, as it was damaged

    def _fetched(self, reference: Reference, what: str) -> Buffer:
        if not reference.size:
            return b""
        mapping = self._mapped.get(reference)
        if mapping is not None:
            return memoryview(mapping)
        host = self._host()
        if host is not None and (descriptor := host.open(reference)) is not None:
            mapped = map_file(self._mapped, reference, descriptor)
            if mapped is not None:
                return mapped  # else the broker says what is wrong with it
        cache = _cache()
        if cache is not None:
            try:
                return self._fetcher.into_cache(reference, what, cache)
            except OSError as error:
                get_logger().warning(
                    "the value %s is fetched into memory, as it cannot be kept in %s: %s",
                    *(reference, cache.directory, error),
                )
        return self._fetcher.into_memory(reference, what)

    # -- the store -----------------------------------------------------------------------------------------------------

    def _description(self) -> Description:
        """Return how the store is laid out; raise `NoStore`."""
        with self._lock:
            now = monotonic()
            if self._described is None or self._described[1] + DESCRIBED_S < now:
                self._described = self._wire.describe(), now
            description = self._described[0]
        if description is None:
            raise NoStore
        return description

    def _host(self) -> HostStore | None:
        """Return the store's directory, if it is one of this host.

        A broker that was started anew has another proof there: it is asked for that as soon as the last one is gone.
        """
        description = self._description()
        host = proved(description)
        if host is None and description.proof_name and description.proof_name == self._proof:
            with self._lock:
                self._described = None
            description = self._description()
            host = proved(description)
        self._proof = description.proof_name if host is not None else ""
        return host


@once
def _cache() -> Cache | None:
    """Return the cache of this host; None where there is none to be had, which is told once."""
    try:
        return Cache(cache_directory(), cache_bytes_max())
    except OSError as error:
        get_logger().warning("large values are kept in memory alone: %s", error)
        return None


def _own_directory() -> Path | None:
    """Return the directory of this user's values; None where there is none to be had."""
    cache = _cache()
    return None if cache is None else cache.directory


_stores: dict[tuple[int, str, int], RemoteValues] = {}


def remote_values(host: str, port: int) -> RemoteValues:
    """Return this process's store of the broker at an address."""
    key = (os.getpid(), host, port)
    found = _stores.get(key)
    if found is None:
        found = _stores.setdefault(key, RemoteValues(host, port, shows=True))
    return found
