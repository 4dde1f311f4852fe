"""The names by which people mean a node: an id, a label, a function, or a function and a label."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from dagorama import Instance
from dagorama.cli.asking import abbreviates, digits_of, several
from dagorama.cli.failure import Refused
from dagorama.client.status import WORKFLOW_RUN, NodeStatus
from dagorama.logging import printable

#: Of a label so many letters stand in a list.
LABEL_MAX = 30


def find_node(instance: Instance, text: str) -> UUID:
    """Return the id of the node that a person means.

    It may be given whole, as the first or last digits of the id of a node of the instance, or by what only one node
    has: a label, the name of a function, or both, as in "load/orders-17.csv". A text that is the label of one and
    abbreviates the id of another is refused.
    """
    digits = digits_of(text)
    if digits is not None and len(digits) == 32:
        return UUID(digits)
    name = instance.id
    whose, shown = f"of the nodes of instance {name}", printable(text)
    by_id, by_label, by_name = _fitting(instance, text, digits)
    if by_id:
        or_label = ", or that label" if any(text in _labels(one) for one in by_id) else ""
        return _only(by_id, f"{whose} have ids that begin or end with {text}{or_label}")
    if by_label:
        return _only(by_label, f"{whose} have the label {shown}; {_way_out(by_label)}")
    if by_name:
        return _only(by_name, f"{whose} are of {shown}; {_way_out(by_name)}")
    has = f"has an id that begins or ends with {shown}," if digits is not None else "has"
    what = f"the label {shown}, or a function of the name {shown}"
    raise Refused(f"none {whose} {has} {what}; `dagorama show {name} --all` lists them")


def _fitting(
    instance: Instance, text: str, digits: str | None
) -> tuple[list[NodeStatus], list[NodeStatus], list[NodeStatus]]:
    """Return the nodes that a text may stand for: by their ids, by their labels, and by their functions.

    Nodes with such a label are among the first, too, if there are any: nobody can tell which of them is meant.
    """
    by_id: list[NodeStatus] = []
    by_label: list[NodeStatus] = []
    by_name: list[NodeStatus] = []
    for status in (one.status for one in instance.nodes(inputs=False)):
        if text in _labels(status):
            by_label.append(status)
        if digits is not None and abbreviates(digits, status.node_id):
            by_id.append(status)
        elif _is_named(status, text):
            by_name.append(status)
    if by_id:
        by_id += [one for one in by_label if one not in by_id]
    return by_id, by_label, by_name


def _is_named(node: NodeStatus, text: str) -> bool:
    """Return whether a text is the name of a node's function, or that and its label, as lists and logs have them."""
    labels = [label for label in _labels(node) if text.endswith((f"/{label}", f" {label}"))]
    name = text[: -len(labels[0]) - 1] if labels else text
    return f":{node.function}".endswith((f":{name}", f".{name}"))


def _labels(node: NodeStatus) -> tuple[str, ...]:
    """Return the label of a node as it is, and as logs, fields and tables show it; nothing for none."""
    if not node.label:
        return ()
    shown = _shown(node.label)
    return node.label, shown, shown.replace("\t", "\\t"), printable(" ".join(node.label.split()))


def _shown(label: str) -> str:
    return printable(label).replace("\n", "\\n")


def _only(found: Sequence[NodeStatus], whose: str) -> UUID:
    """Return the only one that was found; raise an error that names them where there are several."""
    if len(found) > 1:
        raise several(f"{len(found)} {whose}", [f"{one.node_id}  {named(one)}".rstrip() for one in found])
    return found[0].node_id


def named(node: NodeStatus) -> str:
    """Return the method's name and the label of a node in one line, as `find_node` takes them."""
    return f"{printable(node.function.rpartition('.')[2])}/{_shown(node.label)}" if node.label else ""


def _way_out(found: Sequence[NodeStatus]) -> str:
    """Return how to say which of several nodes is meant."""
    names = {(one.function.rpartition(".")[2], one.label) for one in found}
    if len(names) == len(found) and all(label for _, label in names):
        return "say which by function/label, or by its id"
    return "say which by its id"


def labelled(function: str, node: NodeStatus) -> str:
    """Return the name of a function, and after it the beginning of the node's label."""
    label = " ".join(node.label.split())
    if label and node.function.startswith(f"{WORKFLOW_RUN}."):
        function = ""  # a task is known by its name
    return f"{function} {label if len(label) <= LABEL_MAX else f'{label[: LABEL_MAX - 1]}…'}".strip()
