"""Blocks of logs as messages, and as the broker keeps them. Each function raises `MalformedRequest`."""

from collections.abc import Sequence

from dagorama.v1 import logs_pb2
from dagorama_broker.core.model.values import NodeId
from dagorama_broker.logs.blocks import Block, Chunk, Part, StoredBlock
from dagorama_broker.requests.checks import MalformedRequest, check_id, to_instance_id, to_node_id
from dagorama_broker.requests.logs import LOG_MESSAGE_BYTES_MAX, check_sender


def to_sender(request: logs_pb2.AppendRequest) -> tuple[bytes, str]:
    """Return whose stream it is that begins with this message: its id, and its name for people."""
    check_sender(request.sender_id, request.worker)
    return request.sender_id, request.worker


def to_blocks(request: logs_pb2.AppendRequest, sender_id: bytes) -> Sequence[Block]:
    """Return the blocks of a message of this sender."""
    size = request.ByteSize()
    if size > LOG_MESSAGE_BYTES_MAX:
        raise MalformedRequest(f"a message of logs has {size} bytes; at most are {LOG_MESSAGE_BYTES_MAX}")
    if request.sender_id not in (b"", sender_id):
        raise MalformedRequest("a stream of logs has messages of two senders")
    return [_to_block(message) for message in request.blocks]


def _to_block(message: logs_pb2.LogBlock) -> Block:
    return Block(
        instance_id=to_instance_id(message.instance_id),
        sequence=message.sequence,
        parts=[_to_part(part) for part in message.parts],
        data=message.data,
        compression=message.compression,
    )


def _to_part(message: logs_pb2.LogPart) -> Part:
    return Part(
        NodeId(check_id(message.node_id, "node_id")),
        message.attempt,
        message.token,
        message.lines,
        message.text_bytes,
        message.dropped_lines,
        message.dropped_bytes,
        message.ended,
    )


def to_read_node(request: logs_pb2.ReadRequest) -> NodeId | None:
    """Return the node that is read of, None for all."""
    return to_node_id(request.node_id) if request.node_id else None


def from_chunk(chunk: Chunk) -> logs_pb2.ReadResponse:
    """Return the message for a part of what is kept."""
    return logs_pb2.ReadResponse(
        blocks=map(_from_stored, chunk.blocks), cursor=chunk.cursor, gaps=chunk.gaps, last=chunk.last
    )


def _from_stored(stored: StoredBlock) -> logs_pb2.StoredLogBlock:
    block = stored.block
    message = logs_pb2.LogBlock(
        instance_id=block.instance_id,
        sequence=block.sequence,
        parts=[logs_pb2.LogPart(**part._asdict()) for part in block.parts],
        data=block.data,
        compression=block.compression,  # type: ignore[arg-type]  # it came as one of them
    )
    return logs_pb2.StoredLogBlock(block=message, worker=stored.worker)
