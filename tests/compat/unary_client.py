"""A client of the unary API, made from its proto file alone.

The file is compiled here, into a pool of descriptors of its own: nothing of the package's generated code is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # type: ignore[import-untyped]  # it has no stubs

from tests.timing import WAIT_S

PROTOS = Path(__file__).parents[2] / "protos"
FILE = "dagorama/api/api.proto"

Message = Any  # of a class that comes into being here
Refusal = tuple[grpc.StatusCode, str]

NO_WORK = "no work available"
INVALIDATED = "worker invalidated"


def new_id() -> str:
    """Give an id that nothing else has."""
    return str(uuid4())


@cache
def compiled() -> FileDescriptor:
    """Compile the proto file."""
    with TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors"
        include = str(files("grpc_tools") / "_proto")
        status = protoc.main(["protoc", f"-I{PROTOS}", f"-I{include}", f"--descriptor_set_out={target}", FILE])
        assert status == 0
        compiled = FileDescriptorSet.FromString(target.read_bytes())
    pool = DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    return pool.FindFileByName(FILE)


class UnaryClient:
    """Calls a broker; `client.GetWork(identifier=...)` gives the answer.

    What it makes by the methods below is in, and for, `queue`, unless they are told otherwise.
    """

    def __init__(self, target: str, *, queue: str = "") -> None:
        self.queue = queue
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        self._channel = grpc.insecure_channel(target, options=options)
        self._calls = {method.name: self._call(method) for method in compiled().services_by_name["Dagorama"].methods}

    def __enter__(self) -> UnaryClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def __getattr__(self, name: str) -> Callable[..., Message]:
        return self._calls[name]

    def _call(self, method: MethodDescriptor) -> Callable[..., Message]:
        request_class = GetMessageClass(method.input_type)
        ways = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        assert method.containing_service is not None
        call = ways(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return lambda **fields: call(request_class(**fields), timeout=WAIT_S)

    # -- what tests do again and again --------------------------------------------------------------------------------

    def refusal(self, name: str, **fields: object) -> Refusal:
        """Give status and details of a call that the broker is to refuse."""
        try:
            answer = self._calls[name](**fields)
            if isinstance(answer, Iterator):
                list(answer)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"{name} was not refused")

    def instance(self) -> str:
        """Make an instance; gives its id."""
        identifier: str = self.CreateInstance(identifier=new_id()).identifier
        return identifier

    def node(self, instance: str, *sources: str, function: str = "shop:Order.price", **fields: Any) -> str:
        """Make a node; gives its id."""
        message = {"identifier": new_id(), "functionName": function, "queueName": self.queue, **fields}
        identifier: str = self.CreateNode(instanceId=instance, sourceIds=sources, **message).identifier
        return identifier

    def worker(self, **fields: Any) -> str:
        """Make a worker; gives its id."""
        message = {"includeQueues": [self.queue] if self.queue else [], **fields}
        identifier: str = self.CreateWorker(**message).identifier
        return identifier

    def work(self, worker: str) -> str:
        """Give the id of the node that a worker gets, or empty where there is none."""
        try:
            identifier: str = self.GetWork(identifier=worker).identifier
        except grpc.RpcError as error:
            if error.details() != NO_WORK:
                raise
            return ""
        return identifier

    def poll(self, worker: str) -> str:
        """Ask for work until there is some, as workers of 0.1 do; gives the node's id."""
        until = monotonic() + WAIT_S
        while not (node := self.work(worker)):
            assert monotonic() < until, "no work has come"
            sleep(0.02)
        return node

    def submit(self, instance: str, node: str, worker: str, result: bytes = b"") -> Message:
        """Report a result."""
        return self.SubmitWork(instanceId=instance, nodeId=node, workerId=worker, result=result)

    def fail(self, instance: str, node: str, worker: str, traceback: str = "ValueError: no stock") -> Message:
        """Report a failure."""
        return self.SubmitFailure(instanceId=instance, nodeId=node, workerId=worker, traceback=traceback)

    def look(self, instance: str, node: str) -> Message:
        """Give a node."""
        return self.GetNode(instanceId=instance, identifier=node)

    def wait(self, instance: str, node: str) -> Message:
        """Wait for a node's end; gives it as it then is."""
        (message,) = self.SubscribeResolution(instanceId=instance, identifier=node)
        return message
