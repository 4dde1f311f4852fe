"""Do each thing that may be asked of the broker, once: typed, without gRPC, and over any keeper of its state."""

from dagorama_broker.requests.changing import Changing
from dagorama_broker.requests.outcomes import Outcomes
from dagorama_broker.requests.shaping import Shaping


class Requests(Changing, Outcomes, Shaping):
    """Answer every request that is answered at once. Waiting is in `watching`."""


__all__ = ["Requests"]
