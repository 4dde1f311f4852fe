"""Traces of a real run, sent by real workers to a receiver that speaks OTLP."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from dagorama import DAGInstance, attach
from dagorama.tracing.ids import TAG, attempt_span_id, instance_span_id, parse
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.tracing.traced_definitions import Plain, Trip
from tests.timing import WAIT_S


class Receiver:
    """An OTLP receiver over HTTP, which keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.take(self.path, ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, request: ExportTraceServiceRequest) -> None:
        """Keep what was sent."""
        assert path == "/v1/traces"
        with self._came:
            self.spans += [
                span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans
            ]
            self._came.notify_all()

    def wait(self, condition: Callable[[dict[str, list[Span]]], bool]) -> dict[str, list[Span]]:
        """Return the spans by name once this holds."""
        with self._came:
            assert self._came.wait_for(lambda: condition(self.by_name()), WAIT_S), sorted(self.by_name())
            return self.by_name()

    def by_name(self) -> dict[str, list[Span]]:
        """Return the spans that have come, by name, in the order of their begin."""
        found: dict[str, list[Span]] = {}
        for span in sorted(self.spans, key=lambda span: span.start_time_unix_nano):
            found.setdefault(span.name, []).append(span)
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver."""
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def broker() -> Iterator[LaunchedBroker]:
    """Give a broker."""
    with launch_broker(port=0) as broker:
        yield broker


@pytest.fixture
def worker(broker: LaunchedBroker, receiver: Receiver, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a worker that traces, or, with a parameter, one that has these variables."""
    traces = {"DAGORAMA_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    command = [str(Path(sys.executable).with_name("worker")), "--processes", "1"]
    process = subprocess.Popen(command, env={**os.environ, **getattr(request, "param", traces)})
    yield
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(WAIT_S)
    process.kill()


def attributes(span: Span) -> dict[str, str | int]:
    """Return the attributes of a span."""
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def span_ids(*ids: int) -> list[bytes]:
    """Return ids as they are sent."""
    return [one.to_bytes(8, "big") for one in ids]


def start(tmp_path: Path) -> DAGInstance[list[str]]:
    """Start a trip."""
    instance, _ = Trip()(str(tmp_path / "done"))
    return instance


@pytest.mark.usefixtures("worker")
def test_a_run_is_one_trace(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instance is a child of the program's span, each attempt of the instance, linked to those it had values of."""
    monkeypatch.setenv("DAGORAMA_TRACES", "1")
    with TracerProvider().get_tracer("test").start_as_current_span("order") as above:
        instance = start(tmp_path)
    context = above.get_span_context()
    trace_of_load, span_of_load = instance.result(timeout=WAIT_S)[0].split()
    spans = receiver.wait(lambda found: "Trip" in found and "Trip.join" in found)
    assert {span.trace_id for span in receiver.spans} == {context.trace_id.to_bytes(16, "big")}
    (whole,) = spans["Trip"]
    assert [whole.span_id, whole.parent_span_id] == span_ids(
        instance_span_id(instance.instance_id.bytes), context.span_id
    )
    status = attach(instance.instance_id).refresh().status
    assert whole.start_time_unix_nano == pytest.approx(status.created_at.timestamp() * 1e9, abs=1e6)
    assert status.finished_at is not None
    assert whole.end_time_unix_nano == pytest.approx(status.finished_at.timestamp() * 1e9, abs=1e6)
    nodes = {node.function.rpartition(".")[2]: node for node in attach(instance.instance_id).nodes()}
    attempts = [span for name in ("Trip.entrypoint", "Trip.load", "Trip.fickle", "Trip.join") for span in spans[name]]
    assert {span.parent_span_id for span in attempts} == {whole.span_id}
    told = [(attributes(span)["dagorama.attempt"], attributes(span)["dagorama.state"]) for span in spans["Trip.fickle"]]
    assert told == [(1, "failed"), (2, "completed")]
    failed, again = spans["Trip.fickle"]
    assert (failed.status.code, failed.status.message) == (Status.STATUS_CODE_ERROR, "OSError: not yet")
    (event,) = failed.events
    raised = {one.key: one.value.string_value for one in event.attributes}
    assert (event.name, raised["exception.type"], "not yet" in raised["exception.stacktrace"]) == (
        "exception",
        "OSError",
        True,
    )
    assert [again.span_id] == span_ids(attempt_span_id(nodes["fickle"].id.bytes, 2))
    (join,) = spans["Trip.join"]
    assert sorted(link.span_id for link in join.links) == sorted(
        span_ids(attempt_span_id(nodes["load"].id.bytes, 1), attempt_span_id(nodes["fickle"].id.bytes, 2))
    )
    (load,), (inner,) = spans["Trip.load"], spans["inner"]
    assert inner.parent_span_id == load.span_id
    assert attributes(load)["dagorama.label"] == "load 7"
    assert (trace_of_load, span_of_load) == (load.trace_id.hex(), inner.span_id.hex())


@pytest.mark.usefixtures("worker")
def test_an_instance_without_a_span_around_it_is_a_trace_of_its_own(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trace has the id of the instance, and its first span is that of the instance."""
    monkeypatch.setenv("DAGORAMA_TRACES", "1")
    instance = start(tmp_path)
    instance.result(timeout=WAIT_S)
    spans = receiver.wait(lambda found: "Trip" in found and "Trip.join" in found)
    (whole,) = spans["Trip"]
    assert (whole.trace_id, whole.parent_span_id) == (instance.instance_id.bytes, b"")


@pytest.mark.usefixtures("worker")
def test_what_is_not_sampled_is_not_traced(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the program has decided against it, workers go by that; what was not started with traces has none."""
    monkeypatch.setenv("DAGORAMA_TRACES", "1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with TracerProvider().get_tracer("test").start_as_current_span("order"):
        silent = start(tmp_path)
    context = parse(attach(silent.instance_id).tags[TAG])
    assert context is not None
    assert not context.is_sampled
    silent.result(timeout=WAIT_S)
    monkeypatch.delenv("DAGORAMA_TRACES")
    untold = start(tmp_path)
    untold.result(timeout=WAIT_S)
    assert attach(untold.instance_id).tags == {}
    monkeypatch.setenv("DAGORAMA_TRACES", "1")
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    last = start(tmp_path)
    last.result(timeout=WAIT_S)
    receiver.wait(lambda found: "Trip" in found)
    instances = {attributes(span).get("dagorama.instance.id") for span in receiver.spans if span.name != "inner"}
    assert instances == {str(last.instance_id)}


@pytest.mark.parametrize("worker", [{}], indirect=True, ids=["off"])
@pytest.mark.usefixtures("worker")
def test_a_worker_that_does_not_trace_has_not_imported_it(receiver: Receiver) -> None:
    """Off is off: nothing is imported, and nothing sent."""
    instance, _ = Plain()()
    assert instance.result(timeout=WAIT_S) == []
    assert receiver.spans == []
