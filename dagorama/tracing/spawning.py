"""The context that an instance is started in: that of the program's current span."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from dagorama.ended import EndedInstance
from dagorama.options import TAGS_MAX, InstanceOptions
from dagorama.settings import should_trace
from dagorama.tracing.ids import TAG, TraceContext, instance_span_id


def context_of_start(instance_id: bytes) -> TraceContext:
    """Return the context of an instance that is about to start.

    Without a current span the instance begins a trace of its own, whose id is that of the instance.
    """
    trace = sys.modules.get("opentelemetry.trace")  # a program that has a span has imported it
    current = trace.get_current_span().get_span_context() if trace is not None else None
    if current is not None and current.is_valid:
        return TraceContext(current.trace_id, current.span_id, bool(current.trace_flags.sampled))
    return TraceContext(int.from_bytes(instance_id, "big"), instance_span_id(instance_id), True)


def trace_start(
    instance_id: bytes, options: InstanceOptions
) -> tuple[InstanceOptions, tuple[Callable[[EndedInstance], object], ...]]:
    """Return the options of an instance that is about to start, with its trace if it is to have one, and a hook for it.

    One that has no room for another tag is not traced.
    """
    if not should_trace() or len(options.tags) >= TAGS_MAX:
        return options, ()
    from dagorama.tracing.ending import emit_instance

    context = context_of_start(instance_id)
    tags = tuple(sorted({**dict(options.tags), TAG: str(context)}.items()))
    return replace(options, tags=tags), (emit_instance,) if context.is_sampled else ()
