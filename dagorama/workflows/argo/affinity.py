"""Labels of pods, and the affinity to pods with them: how a cluster is told to run tasks on one machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from dagorama.workflows.configuration import BadOperationConfiguration, PodExecutionContext, SharedDirectory

#: The label of pods that use a volume which one machine at a time can use.
USES_VOLUME = "usesvolume"
#: The longest name and value of a label, as clusters take them.
_LABEL_LENGTH_MAX = 63
#: The value of a label, and its key, which may begin with a domain.
_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
#: What a cluster weighs preferences with, from 1 to 100.
_WEIGHT = 100


def contexts_of_volumes(directories: Iterable[SharedDirectory]) -> list[PodExecutionContext]:
    """Return the contexts of tasks that use volumes: each such volume has one, which is required.

    A pod has a label once, so the first volume has the plain one and each other one of its own.
    """
    claims = list(dict.fromkeys(one.claim for one in directories if one.needs_one_machine))
    first = [PodExecutionContext(USES_VOLUME, _short(claim), required=True) for claim in claims[:1]]
    return first + [PodExecutionContext(_own(claim), "true", required=True) for claim in claims[1:]]


def labels_of(contexts: Sequence[PodExecutionContext], directories: Iterable[SharedDirectory]) -> dict[str, str]:
    """Return the labels of pods in these contexts that use these directories.

    Raises `BadOperationConfiguration` for a context that cannot be a label.
    """
    for context in contexts:
        if not (_KEY.fullmatch(context.key) and _VALUE.fullmatch(context.value)):
            raise BadOperationConfiguration(
                f"the context {context.key!r}={context.value!r} cannot be a label of pods: key and value have up to "
                f"{_LABEL_LENGTH_MAX} letters, digits and -._, and neither begin nor end with one of the latter"
            )
    claims = list(dict.fromkeys(one.claim for one in directories if one.needs_one_machine))
    labels = {context.key: context.value for context in contexts}
    if claims:
        labels[USES_VOLUME] = _short(claims[0])
    return labels | {_own(claim): "true" for claim in claims}


def affinity_of(contexts: Sequence[PodExecutionContext]) -> dict[str, Any] | None:
    """Return the affinity to pods of the same contexts; None without any."""
    if not contexts:
        return None
    preferred = [{"weight": _WEIGHT, "podAffinityTerm": _term(one)} for one in contexts if not one.required]
    required = [_term(one) for one in contexts if one.required]
    found: dict[str, Any] = {}
    if preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    if required:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = required
    return {"podAffinity": found}


def _term(context: PodExecutionContext) -> dict[str, Any]:
    expression = {"key": context.key, "operator": "In", "values": [context.value]}
    return {"labelSelector": {"matchExpressions": [expression]}, "topologyKey": "kubernetes.io/hostname"}


def _own(claim: str) -> str:
    return _short(f"{USES_VOLUME}-{claim}")


def _short(label: str) -> str:
    """Return a text that a label can have; a long one ends in its digest, so that no two become the same."""
    if len(label) <= _LABEL_LENGTH_MAX:
        return label
    return f"{label[: _LABEL_LENGTH_MAX - 9]}-{sha256(label.encode()).hexdigest()[:8]}"
