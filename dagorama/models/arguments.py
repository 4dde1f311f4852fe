"""The arguments of a decorated call."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from dagorama.calls.payload import encode


@dataclass
class DAGArguments:
    """The arguments of one call, without `self`. They may hold promises at any depth."""

    calltime_args: tuple[object, ...]
    calltime_kwargs: dict[str, object]

    def to_server_bytes(self) -> bytes:
        """Return the payload that travels; promises in it keep their ids and nothing else."""
        return encode((self.calltime_args, self.calltime_kwargs), what="the arguments").data

    @classmethod
    def from_server_bytes(cls, b: bytes) -> DAGArguments:
        """Make the arguments of a payload that `to_server_bytes` wrote; promises come back bare."""
        args, kwargs = pickle.loads(b)
        return cls(args, kwargs)
