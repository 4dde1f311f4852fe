"""The broker's log of nodes that wait because every worker has another version of their code."""

import logging
from collections.abc import Sequence

from dagorama_broker.core import events as e
from dagorama_broker.core.model.values import FunctionSpec
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.why import Kind, explain_function

log = logging.getLogger("dagorama.broker")

#: So many versions of functions are remembered as told.
_TOLD_MAX = 1000


class Outdated:
    """Tells of each version of a function once. A worker that was never granted such a node cannot say it."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}

    def look(self, scheduler: Scheduler, events: Sequence[e.Event]) -> None:
        """Look at the nodes that have been made. Where some worker takes a node, that costs next to nothing."""
        for event in events:
            if type(event) is not e.NodesCreated:
                continue
            last = None
            for node in event.nodes:
                function = node.function
                if function is not last:
                    last = function
                    if not function.lane.views:
                        self._tell(scheduler, function.spec)

    def _tell(self, scheduler: Scheduler, spec: FunctionSpec) -> None:
        version = (spec.name, spec.code_version)
        if version in self._told:
            return
        for reason in explain_function(scheduler, spec):
            if reason.kind is Kind.CODE_VERSION:
                log.warning("nodes of %s wait: %s", spec.name, reason.text)
                self._told[version] = None
                if len(self._told) > _TOLD_MAX:
                    del self._told[next(iter(self._told))]
