"""The span of an instance, emitted by a hook when it has ended, from its stored times (decision 0028)."""

from __future__ import annotations

from dagorama.ended import EndedInstance
from dagorama.settings import should_trace
from dagorama.states import InstanceState
from dagorama.tracing.ids import TAG, TraceContext, instance_span_id, parse
from dagorama.tracing.spans import tracing


def emit_instance(ended: EndedInstance) -> None:
    """Emit the span of an instance, on a worker that makes traces; on others nothing happens."""
    started_in = parse(ended.tags.get(TAG, ""))
    if started_in is None or not started_in.is_sampled or not should_trace():
        return
    span_id = instance_span_id(ended.instance_id.bytes, ended.end)
    first = TraceContext(started_in.trace_id, instance_span_id(ended.instance_id.bytes), True)
    span = tracing().begin(
        ended.definition.rpartition(":")[2],
        started_in if started_in != first else None,
        trace_id=started_in.trace_id,
        span_id=span_id,
        attributes={
            "dagorama.instance.id": str(ended.instance_id),
            "dagorama.definition": ended.definition,
            "dagorama.state": ended.state.value,
            "dagorama.end": ended.end,
            **({"dagorama.key": ended.key} if ended.key else {}),
        },
        links=[first] if ended.end > 1 else [],
        start_ns=int(ended.started_at.timestamp() * 1e9),
    )
    if ended.state is not InstanceState.COMPLETED:
        tracing().fail(span, ended.state.value, ended.error)
    span.end(int(ended.finished_at.timestamp() * 1e9))
