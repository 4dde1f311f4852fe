"""The spans of attempts: each is a child of its instance's span, linked to the attempts that its arguments come from.

The function runs with the span as the current one, so spans of its own are children of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextvars import Context
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from dagorama.tracing.ids import TraceContext, attempt_span_id, instance_span_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, SpanContext


class NoOpenTelemetry(Exception):
    """Traces were asked for, and OpenTelemetry is not installed."""

    def __init__(self) -> None:
        super().__init__("DAGORAMA_TRACES needs OpenTelemetry; install it with: pip install 'dagorama[otel]'")


class Tracing:
    """Makes the spans of one process. Any thread may."""

    def __init__(self) -> None:
        """Use the provider that the program has set, or make one as the OTEL_* variables say. May raise.

        Raises `NoOpenTelemetry`.
        """
        try:
            from opentelemetry import context, trace
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError as error:
            raise NoOpenTelemetry from error
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = _provider()
            trace.set_tracer_provider(provider)
        self._trace: Any = trace
        self._attach = context.attach
        self._chosen = _Chosen(provider.id_generator)
        cast(Any, provider).id_generator = self._chosen
        self._tracer = provider.get_tracer("dagorama", version("dagorama"))

    def begin(
        self,
        name: str,
        parent: TraceContext | None,
        *,
        trace_id: int,
        span_id: int,
        attributes: dict[str, str | int],
        links: Iterable[TraceContext] = (),
        start_ns: int | None = None,
    ) -> Span:
        """Return a span with this id, which has begun. Without a parent it is the first of its trace."""
        trace = self._trace
        above = trace.set_span_in_context(trace.NonRecordingSpan(self._context(parent))) if parent else None
        linked = [trace.Link(self._context(link)) for link in links]
        with self._chosen.next(trace_id, span_id):
            span: Span = self._tracer.start_span(name, above, attributes=attributes, links=linked, start_time=start_ns)
        return span

    def _context(self, context: TraceContext) -> SpanContext:
        flags = self._trace.TraceFlags(int(context.is_sampled))
        found: SpanContext = self._trace.SpanContext(context.trace_id, context.span_id, True, flags)
        return found

    def make_current(self, span: Span, context: Context) -> None:
        """Have what runs in a context be inside of a span."""
        context.run(self._attach, self._trace.set_span_in_context(span))

    def fail(self, span: Span, kind: str, message: str, traceback: str = "") -> None:
        """Note on a span what went wrong, as an event and as its status."""
        attributes = {"exception.type": kind, "exception.message": message}
        span.add_event("exception", {**attributes, "exception.stacktrace": traceback} if traceback else attributes)
        span.set_status(self._trace.StatusCode.ERROR, f"{kind}: {message}")


@cache
def tracing() -> Tracing:
    """Return what makes the spans of this process: one, as providers keep their tracers. Raise `NoOpenTelemetry`."""
    return Tracing()


class AttemptSpans:
    """Makes the spans of attempts in a worker."""

    def __init__(self) -> None:
        """Raise `NoOpenTelemetry` where there is none."""
        self._tracing = tracing()
        _note_spans_in_logs()

    def begin(
        self,
        parent: TraceContext,
        *,
        instance_id: bytes,
        node_id: bytes,
        attempt: int,
        function: str,
        links: Iterable[tuple[bytes, int]],
        context: Context,
    ) -> AttemptSpan:
        """Return the span of an attempt that begins now, in this context; `links` are nodes with their attempts."""
        trace_id, is_sampled = parent.trace_id, parent.is_sampled
        span = self._tracing.begin(
            function.rpartition(":")[2],
            TraceContext(trace_id, instance_span_id(instance_id), is_sampled),
            trace_id=trace_id,
            span_id=attempt_span_id(node_id, attempt),
            attributes={
                "code.function.name": function.replace(":", "."),
                "dagorama.instance.id": str(UUID(bytes=instance_id)),
                "dagorama.node.id": str(UUID(bytes=node_id)),
                "dagorama.attempt": attempt,
            },
            links=[TraceContext(trace_id, attempt_span_id(*link), is_sampled) for link in links],
        )
        self._tracing.make_current(span, context)
        return AttemptSpan(self._tracing, span)


class AttemptSpan:
    """The span of one attempt."""

    __slots__ = ("_span", "_tracing")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def end(self, state: str, failure: tuple[str, str, str] | None = None, label: str = "") -> None:
        """End it with the state of the attempt, and with type, message and traceback of its failure."""
        if label:
            self._span.set_attribute("dagorama.label", label)
        self._span.set_attribute("dagorama.state", state)
        if failure is not None:
            self._tracing.fail(self._span, *failure)
        self._span.end()


class _Chosen:
    """Generates the ids of the next span of a thread as they were chosen, and all others as they would be."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others
        self._local = threading.local()

    def next(self, trace_id: int, span_id: int) -> _Chosen:
        """Choose, for as long as the block lasts."""
        self._local.ids = trace_id, span_id
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._local.ids = None

    def generate_span_id(self) -> int:
        """Return the id of a span."""
        ids: tuple[int, int] | None = getattr(self._local, "ids", None)
        return self._others.generate_span_id() if ids is None else ids[1]

    def generate_trace_id(self) -> int:
        """Return the id of a trace."""
        ids: tuple[int, int] | None = getattr(self._local, "ids", None)
        return self._others.generate_trace_id() if ids is None else ids[0]

    def is_trace_id_random(self) -> bool:
        """Return whether ids of traces are random. The ids of instances are not, as they begin with the time."""
        return False


def _provider() -> TracerProvider:
    """Return a provider that sends to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@cache
def _note_spans_in_logs() -> None:
    """Have records of logging name the trace and the span that they come from, by the names that others use.

    Once for a process, which may have one worker after another.
    """
    from opentelemetry.trace import get_current_span

    make = logging.getLogRecordFactory()

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        span = get_current_span().get_span_context()
        made.otelTraceID = f"{span.trace_id:032x}" if span.is_valid else "0"
        made.otelSpanID = f"{span.span_id:016x}" if span.is_valid else "0"
        return made

    logging.setLogRecordFactory(record)
