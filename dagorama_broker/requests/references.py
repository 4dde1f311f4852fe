"""References of payloads to values, checked before anything that has them is committed.

A value is put before anything refers to it. Payloads whose values are not in the store are not taken: the client or
worker is told of these, puts them, and asks again.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from dagorama_broker.core.commands import CompleteNodes, NodeResult, SubmitNodes
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.references import (
    BadReferences,
    Reference,
    references_of,
    referring,
    refers,
    refers_stored,
)
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId
from dagorama_broker.requests.answers import Outcome
from dagorama_broker.requests.checks import MalformedRequest, to_failed
from dagorama_broker.requests.keeper import Keeper

#: So many are named in a refusal: they go into a header, where there is little room.
NAMED_MAX = 64

#: No value has it.
_ANY_SIZE = -1

#: Return the sizes of those, of some values, that are in the store, given the sizes that payloads say they have.
FindSizes = Callable[[Mapping[bytes, int]], Awaitable[dict[bytes, int]]]


async def find_none(digests: Iterable[bytes]) -> dict[bytes, int]:
    """Find nothing, for a broker that has no store of values."""
    return {}


async def find_used(keeper: Keeper, digests: Sequence[bytes]) -> set[bytes]:
    """Return the values, among some, that payloads refer to, also those of what is on its way to the journal."""
    await keeper.flush()
    return await keeper.read(keeper.journal.find_used, digests)


class MissingValues(Exception):
    """Payloads refer to values that the store lacks."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        self.digests = tuple(digests[:NAMED_MAX])
        more = f" and {len(digests) - 1} more" if len(digests) > 1 else ""
        super().__init__(
            f"the broker's store lacks value {digests[0].hex()}{more}, which a payload refers to. Put what is missing, "
            "then ask again"
        )


class CannotRead(Exception):
    """A client wants a payload that refers to values, and does not say that it reads such."""

    def __init__(self, *, instance_id: InstanceId, node_id: NodeId) -> None:
        self.instance_id = instance_id
        self.node_id = node_id
        super().__init__(
            f"node {show_id(node_id)} of instance {show_id(instance_id)} has large values, which are stored apart, and "
            "the version of dagorama that asks does not read such. Update dagorama there"
        )


def check_plain(instance_id: InstanceId, outcomes: Iterable[Outcome]) -> None:
    """Raise `CannotRead` where values refer to others, for a client that does not read such."""
    for outcome in outcomes:
        if any(refers(payload) for _, payload in outcome.values):
            raise CannotRead(instance_id=instance_id, node_id=outcome.node_id)


#: The words for the same of a worker, and the name for what it lacks.
CANNOT_READ = (
    "the node takes large values, which are stored apart, and the worker's version of dagorama does not read such. "
    "Update dagorama there, or start a worker with a newer version"
)
READS_REFERENCES = "dagorama:large values"


def takes_references(node: Node, values: Iterable[bytes]) -> bool:
    """Tell whether a node, or one of the values that its arguments refer to, needs a reader of references."""
    own = node.arguments, node.function.spec.definition_arguments
    return any(map(refers_stored, own)) or any(map(refers, values))


class MissingReport(NamedTuple):
    """A report that was not taken, as it refers to values that the store lacks; its lease is still live."""

    node_id: NodeId
    token: int
    digests: Sequence[bytes]


def payloads_of_submit(command: SubmitNodes) -> list[bytes]:
    """Return the payloads of new calls and hooks."""
    payloads = _payloads_of_calls(command.calls)
    for hook in command.hooks:
        payloads += (hook.arguments, hook.function.definition_arguments)
    return payloads


def _payloads_of_calls(calls: Sequence[NewCall]) -> list[bytes]:
    functions = {id(call.function): call.function for call in calls}  # few, and slow to hash
    payloads = [call.arguments for call in calls]
    payloads += [function.definition_arguments for function in functions.values()]
    return payloads


def payloads_of_result(result: NodeResult) -> list[bytes]:
    """Return the payloads of how an attempt ended."""
    payloads = _payloads_of_calls(result.children)
    if result.payload is not None:
        payloads.append(result.payload)
    if result.failure is not None:
        payloads.append(result.failure.exception)
    return payloads


async def check_references(payloads: Sequence[bytes], find_sizes: FindSizes) -> None:
    """Raise `MissingValues` or `MalformedRequest` unless all values are there that these payloads refer to."""
    references = _references_in(payloads)
    if not references:
        return
    missing = _missing(references, await find_sizes({reference.digest: reference.size for reference in references}))
    if missing:
        raise MissingValues(missing)


def _references_in(payloads: Sequence[bytes]) -> list[Reference]:
    """Return the references of payloads. Raises `MalformedRequest` where they cannot be, or do not agree."""
    found: dict[bytes, Reference] = {}
    for at in referring(payloads):
        try:
            references = references_of(payloads[at])
        except BadReferences as error:
            raise MalformedRequest(str(error)) from error
        for reference in references:
            known = found.setdefault(reference.digest, reference)
            if known != reference:
                _refuse_size(reference, known.size)
    return list(found.values())


def _missing(references: Iterable[Reference], sizes: dict[bytes, int]) -> list[bytes]:
    """Return the values that are not there. Raises `MalformedRequest` where one has another size.

    One that was cut short is not there: `find_sizes` sees to that.
    """
    missing = []
    for reference in references:
        size = sizes.get(reference.digest)
        if size is None:
            missing.append(reference.digest)
        elif size != reference.size:
            _refuse_size(reference, size)
    return missing


def _refuse_size(reference: Reference, size: int) -> None:
    raise MalformedRequest(
        f"a payload refers to value {reference.digest.hex()} as one of {reference.size} bytes; it has {size}"
    )


async def sift_report(report: CompleteNodes, find_sizes: FindSizes) -> tuple[CompleteNodes, Sequence[MissingReport]]:
    """Return the part of a report that can be taken, and the rest, which cannot yet.

    An attempt whose references cannot be fails its node.
    """
    completions = list(report.completions)
    whole = [NodeResult(node_id=id, token=token, payload=payload) for id, token, payload, *_ in completions]
    of_each = [_references_of(result) for result in (*whole, *report.results)]
    sizes = await find_sizes(_sizes_said([one for found in of_each if isinstance(found, list) for one in found]))
    missing: list[MissingReport] = []
    results: list[NodeResult] = []
    taken = []
    for place, (result, references) in enumerate(zip((*whole, *report.results), of_each, strict=True)):
        verdict = _judge(result, references, sizes)
        if isinstance(verdict, MissingReport):
            missing.append(verdict)
        elif verdict is not result:
            results.append(verdict)
        elif place < len(completions):
            taken.append(completions[place])
        else:
            results.append(result)
    return replace(report, results=results, completions=taken), missing


def _sizes_said(references: Iterable[Reference]) -> dict[bytes, int]:
    """Return the sizes that values are said to have; `_ANY_SIZE` for one of which several are said.

    One of these may be that of a value that was cut short, so its bytes have to tell.
    """
    said: dict[bytes, int] = {}
    for digest, size in references:
        said[digest] = size if said.get(digest, size) == size else _ANY_SIZE
    return said


def _references_of(result: NodeResult) -> list[Reference] | MalformedRequest:
    try:
        return _references_in(payloads_of_result(result))
    except MalformedRequest as error:
        return error


def _judge(
    result: NodeResult, references: list[Reference] | MalformedRequest, sizes: dict[bytes, int]
) -> NodeResult | MissingReport:
    """Return a result as it is, the failure in its place, or what it lacks."""
    try:
        if isinstance(references, MalformedRequest):
            raise references
        digests = _missing(references, sizes)
    except MalformedRequest as error:
        return to_failed(result.node_id, result.token, error)
    return MissingReport(result.node_id, result.token, digests[:NAMED_MAX]) if digests else result
