"""Remember which attempts are still to send something, so that a reader who follows knows when to go."""

from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import Arrival

#: So many attempts are remembered of a sender. None runs so many at once.
_ATTEMPTS_MAX = 100_000


class Underway:
    """Know of each connected sender the attempts that have sent something and not ended."""

    def __init__(self) -> None:
        self._open: dict[InstanceId, dict[tuple[NodeId, int], bytes]] = {}
        self._of_sender: dict[bytes, set[tuple[InstanceId, NodeId, int]]] = {}

    def has(self, instance_id: InstanceId, node_id: NodeId | None) -> bool:
        """Tell whether there are such attempts of an instance, or of one of its nodes."""
        attempts = self._open.get(instance_id, {})
        return any(node_id in (None, other) for other, _ in attempts)

    def note(self, arrival: Arrival) -> None:
        """Take note of what a block says of its attempts."""
        sender_id, _, block = arrival
        for part in block.parts:
            key = (block.instance_id, part.node_id, part.token)
            if part.ended:
                self._end(*key)
                self._of_sender.get(sender_id, set()).discard(key)
            elif len(keys := self._of_sender.setdefault(sender_id, set())) < _ATTEMPTS_MAX:
                keys.add(key)
                self._open.setdefault(block.instance_id, {})[part.node_id, part.token] = sender_id

    def forget(self, sender_id: bytes) -> None:
        """Forget a sender that is gone: it sends nothing more, or all of it again."""
        for key in self._of_sender.pop(sender_id, ()):
            self._end(*key)

    def _end(self, instance_id: InstanceId, node_id: NodeId, token: int) -> None:
        attempts = self._open.get(instance_id)
        if attempts is not None and attempts.pop((node_id, token), None) is not None and not attempts:
            del self._open[instance_id]
