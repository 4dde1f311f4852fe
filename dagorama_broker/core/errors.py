"""The core's errors, above all refusals. Each error carries its evidence; its message is built from that.

CoreError
├── Refused                 the request is at fault; nothing has changed
│   ├── UnknownInstance
│   │   └── PrunedInstance  it was, and only its tombstone is left
│   ├── InstanceEnded
│   ├── UnfitInstance
│   ├── NodeInUse           a rerun would make it anew, under another id
│   ├── EmptyInstance
│   ├── UnknownNode
│   ├── UnfitNode           it is in a state in which that cannot be done
│   ├── ConflictingNode     same id, other body
│   ├── ConflictingRequest  the same, for a request to retry or to rerun
│   ├── ConflictingKey      same key, other body
│   ├── DuplicateCall       same id twice in one request
│   ├── TooManyCalls        one function, or one request, makes more than the broker allows
│   ├── TooManyNodes        the same of an instance
│   ├── TooManyBytes        the large values of an instance would come to more than the broker allows
│   ├── UnknownDependency   depends on what does not exist before it (so also: a cycle)
│   └── UnknownWorker
├── IllegalMove             the core is at fault
└── BrokenInvariant         the core is at fault, as `check_invariants` has seen
"""

from collections.abc import Sequence


class CoreError(Exception):
    """Base of all errors of the core."""


class Refused(CoreError):
    """The request is at fault; nothing has changed."""


class UnknownInstance(Refused):
    """No instance has this id."""

    def __init__(self, *, instance_id: bytes) -> None:
        self.instance_id = instance_id
        super().__init__(
            f"no instance {show_id(instance_id)} is known to this broker; check the id and the broker's address"
        )


class PrunedInstance(UnknownInstance):
    """An instance with this id, or under this key, has ended and was removed since."""

    def __init__(
        self, *, instance_id: bytes, definition: str, state: str, pruned_at: float, reason: str, by: str, key: str = ""
    ) -> None:
        self.instance_id = instance_id
        self.definition = definition
        self.state = state
        self.pruned_at = pruned_at
        self.reason = reason
        self.by = by
        self.key = key
        under = f", which was started under key {key!r}," if key else ""
        how = f"deleted{f' by {by}' if by else ''}" if reason == "request" else "pruned"
        out = "give a new start a key of its own" if key else "a new start needs an id of its own"
        Refused.__init__(
            self,
            f"instance {show_id(instance_id)} of {definition}{under} is {state} and was {how} on "
            f"{show_time(pruned_at)}; nothing else is known of it any more, and {out}",
        )


class InstanceEnded(Refused):
    """The instance has ended, so what was asked cannot be done any more."""

    def __init__(self, *, instance_id: bytes, state: str, wanted: str) -> None:
        self.instance_id = instance_id
        self.state = state
        self.wanted = wanted
        super().__init__(f"instance {show_id(instance_id)} is {state} already, so it cannot be {wanted}")


class UnfitInstance(Refused):
    """The instance is in a state in which what was asked cannot be done."""

    def __init__(self, *, instance_id: bytes, state: str, wanted: str, needed: str) -> None:
        self.instance_id = instance_id
        self.state = state
        self.wanted = wanted
        self.needed = needed
        super().__init__(
            f"instance {show_id(instance_id)} is {state}, so it cannot be {wanted}; only one that {needed} can"
        )


class NodeInUse(Refused):
    """A rerun or retry would make a node anew that something else than its maker refers to by its id."""

    def __init__(self, *, node_id: bytes, user_id: bytes) -> None:
        self.node_id = node_id
        self.user_id = user_id
        super().__init__(
            f"node {show_id(node_id)} would be made anew, under another id, and node {show_id(user_id)}, which would "
            "not, refers to it; rerun what comes after both, or start a new instance"
        )


class EmptyInstance(Refused):
    """The instance has no node, so there is none to ask about."""

    def __init__(self, *, instance_id: bytes) -> None:
        self.instance_id = instance_id
        super().__init__(f"instance {show_id(instance_id)} has no node, so there is none to ask about")


class UnknownNode(Refused):
    """The instance has no node with this id."""

    def __init__(self, *, instance_id: bytes, node_id: bytes) -> None:
        self.instance_id = instance_id
        self.node_id = node_id
        super().__init__(f"instance {show_id(instance_id)} has no node {show_id(node_id)}")


class UnfitNode(Refused):
    """The node is in a state in which what was asked cannot be done."""

    def __init__(self, *, node_id: bytes, state: str, wanted: str, needed: str) -> None:
        self.node_id = node_id
        self.state = state
        self.wanted = wanted
        self.needed = needed
        super().__init__(f"node {show_id(node_id)} is {state}, so it cannot be {wanted}; only one that {needed} can")


class ConflictingNode(Refused):
    """A node with this id exists and has another body."""

    def __init__(self, *, instance_id: bytes, node_id: bytes, function: str, existing_function: str) -> None:
        self.instance_id = instance_id
        self.node_id = node_id
        self.function = function
        self.existing_function = existing_function
        super().__init__(
            f"node {show_id(node_id)} of instance {show_id(instance_id)} exists as a call of {existing_function}; a "
            f"call of {function} with another function, arguments or dependencies needs an id of its own"
        )


class ConflictingRequest(Refused):
    """The instance was retried or rerun by a request with this id that asked for something else."""

    def __init__(self, *, instance_id: bytes, request_id: bytes) -> None:
        self.instance_id = instance_id
        self.request_id = request_id
        super().__init__(
            f"instance {show_id(instance_id)} was asked for something else by request {show_id(request_id)}; a request "
            "for another node, or to retry instead of rerunning, needs an id of its own"
        )


class ConflictingKey(Refused):
    """An instance was started under this key with another body."""

    def __init__(self, *, key: str, instance_id: bytes, differs: Sequence[str]) -> None:
        self.key = key
        self.instance_id = instance_id
        self.differs = tuple(differs)
        super().__init__(
            f"instance {show_id(instance_id)} was started under key {key!r}, and this start differs from that in its "
            f"{' and '.join(differs)}; give a start that is another one a key of its own"
        )


class DuplicateCall(Refused):
    """One request has two calls with the same id."""

    def __init__(self, *, node_id: bytes) -> None:
        self.node_id = node_id
        super().__init__(f"node {show_id(node_id)} stands twice in one request; every call needs an id of its own")


class TooManyCalls(Refused):
    """One function, or one request from outside, makes more nodes than the broker is set to allow."""

    def __init__(self, *, count: int, most: float, maker: str, function: str) -> None:
        """Name the function of the first call, and that which made the calls; empty: they come from outside."""
        self.count = count
        self.most = most
        self.maker = maker
        self.function = function
        what = "one call of a function" if maker else "one request"
        super().__init__(
            f"{_makes(maker, count, function)}; {what} may make {most:.0f} (DAGORAMA_CALL_NODES_MAX of the broker). "
            f"{'Let it call functions that make a part of them each' if maker else 'Send them in several'}, or give "
            "each node more to do, or raise the setting"
        )


class TooManyNodes(Refused):
    """An instance would have more nodes than the broker is set to allow."""

    def __init__(self, *, instance_id: bytes, before: int, count: int, most: float, maker: str, function: str) -> None:
        """Name functions as `TooManyCalls` does."""
        self.instance_id = instance_id
        self.before = before
        self.count = count
        self.most = most
        self.maker = maker
        self.function = function
        super().__init__(
            f"{_makes(maker, count, function)}, and instance {show_id(instance_id)} has {before} already; an instance "
            f"may have {most:.0f} (DAGORAMA_INSTANCE_NODES_MAX of the broker). Start instances of their own for a part "
            "of the work, or give each node more to do, or raise the setting"
        )


class TooManyBytes(Refused):
    """The large values of an instance would come to more bytes than the broker is set to allow."""

    def __init__(
        self, *, instance_id: bytes, before: int, digest: bytes, size: int, most: float, place: str, path: str = ""
    ) -> None:
        """Take the value that is too much, and the place that it has: "the result of f", for one.

        `path` is the way to it from there, such as "result['frames'][2]"; empty where nobody has told it.
        """
        self.instance_id = instance_id
        self.before = before
        self.digest = digest
        self.size = size
        self.most = most
        self.place = place
        self.path = path
        super().__init__(
            f"a large value in {place}{f', {path},' if path else ''} has {size} bytes (SHA-256 {digest.hex()}), and "
            f"those of instance {show_id(instance_id)} come to {before} already; they may come to {most:.0f} bytes "
            "(DAGORAMA_INSTANCE_BYTES_MAX of the broker), each counted once. Start instances of their own for a part "
            "of the work, or keep the data in a file or a store that all workers reach and pass its name, or raise the "
            "setting"
        )


class UnknownDependency(Refused):
    """A call depends on something that does not exist before it."""

    def __init__(self, *, node_id: bytes, dependency_id: bytes, function: str) -> None:
        self.node_id = node_id
        self.dependency_id = dependency_id
        self.function = function
        super().__init__(
            f"node {show_id(node_id)} ({function}) depends on {show_id(dependency_id)}, which is no earlier node of "
            "its instance; pass a promise on only within the instance that made it, after the call that returned it"
        )


class UnknownWorker(Refused):
    """No worker with this id is connected."""

    def __init__(self, *, worker_id: bytes) -> None:
        self.worker_id = worker_id
        super().__init__(f"worker {show_id(worker_id)} is not connected; say hello first")


class IllegalMove(CoreError):
    """A node was asked to make a move that the table does not have: a defect of the broker."""

    def __init__(self, *, node_id: bytes, state: str, target: str) -> None:
        self.node_id = node_id
        self.state = state
        self.target = target
        super().__init__(f"node {show_id(node_id)} cannot go from {state} to {target}")


class BrokenInvariant(CoreError, AssertionError):
    """Something that must always hold in the core does not: a defect of the broker."""

    def __init__(self, rule: str, **evidence: object) -> None:
        self.rule = rule
        self.evidence = evidence
        seen = ", ".join(f"{name}={value!r}" for name, value in evidence.items())
        super().__init__(f"{rule} (seen: {seen})")


def _makes(maker: str, count: int, function: str) -> str:
    return f"{maker or 'a request'} makes {count} {'node' if count == 1 else 'nodes'}, the first of {function}"


def show_time(at: float) -> str:
    """Return a time, in seconds since 1970, as a date and a time of day in UTC."""
    days, rest_s = divmod(int(at), 86400)
    # Howard Hinnant's "civil_from_days": years begin in March, so that the day of a leap year is the last of one.
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d} {rest_s // 3600:02d}:{rest_s // 60 % 60:02d}:{rest_s % 60:02d} UTC"


def show_id(raw: bytes) -> str:
    """Return a 16-byte id in the form of a UUID; anything else in plain hexadecimal digits."""
    digits = raw.hex()
    if len(raw) != 16:
        return digits or "(empty)"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
