"""Staying connected: one stream after another, with a backoff between them, and a word where the broker is silent."""

from __future__ import annotations

import threading
from time import monotonic
from uuid import UUID

import grpc

from dagorama.client.connection import problem_in
from dagorama.common.jitter import chance
from dagorama.errors import BrokerUnavailable
from dagorama.logging import get_logger
from dagorama.worker.options import drain_grace_s
from dagorama.worker.owner import Owner
from dagorama.worker.shell import forking
from dagorama.worker.shell.border import Border
from dagorama.worker.shell.shell import Shell
from dagorama.worker.shell.stream import Stream

#: Between attempts to connect: full jitter up to a bound that doubles from the first to the second. A restarted broker
#: waits 5 s for the workers that it had, so a worker must be well below that.
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
#: How often a worker says that the broker still does not answer.
COMPLAINT_INTERVAL_S = 30.0


class Connector:
    """Keeps a stream open until the worker is drained or stopped."""

    def __init__(self, *, host: str, port: int, shell: Shell, border: Border, owner: Owner) -> None:
        """Begin each stream with the hello of `border`, which gets all that comes."""
        self._host = host
        self._port = port
        self._shell = shell
        self._border = border
        self._owner = owner
        self._stopped = False
        self._stream: Stream | None = None
        self._interrupt = threading.Event()  #: ends a backoff, when there is nothing left to connect for
        self.was_welcome = False  #: whether the broker has ever answered
        self._is_connected: bool | None = None  #: as far as it was told; None: nothing was
        self._last_detail = "it did not answer"
        self._is_refused = False  #: whether the last stream ended because the broker finds something wrong with it
        self._drain_grace_s = drain_grace_s()
        self._give_up_at: float | None = None  #: when a worker that drains, and can only report, ends without that

    def serve(self) -> None:
        """Block until the worker is over."""
        bound_s = BACKOFF_MIN_S
        lost_at = monotonic()
        complain_at = lost_at
        while not self._is_over():
            started_at = monotonic()
            was_welcome = self._serve_stream()
            if self._is_over():
                return
            now = monotonic()
            if was_welcome:
                lost_at = complain_at = now
                if now - started_at > BACKOFF_MAX_S:  # else the broker has something against this worker
                    bound_s = BACKOFF_MIN_S
            elif now >= complain_at:
                # Not said when a connection breaks and the next attempt succeeds.
                self._complain(now - lost_at)
                complain_at = now + COMPLAINT_INTERVAL_S
            if self._gives_up(was_welcome, monotonic()):
                return
            self._interrupt.wait(chance.uniform(0, bound_s))
            self._interrupt.clear()
            bound_s = min(2 * bound_s, BACKOFF_MAX_S)

    def interrupt(self) -> None:
        """End a backoff, from any thread: there may be nothing left to connect for."""
        self._interrupt.set()

    def stop(self) -> None:
        """Open no further stream, from any thread. The caller has to cut or end one that is open."""
        self._stopped = True

    def cut(self) -> None:
        """Break the stream that is open, from any thread."""
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def _tell_connected(self) -> None:
        """Tell that the broker answers, where that is news."""
        forking.keep_connections_from_forks(self._host, self._port)
        at = f"the broker at {self._host}:{self._port}"
        text = f"{at} answers again" if self.was_welcome else f"connected to {at}"
        if self._is_connected is None:
            self._owner.connected(text)
        elif not self._is_connected:
            self._owner.connection_changed(text, is_connected=True)
        self._is_connected = self.was_welcome = True

    def unavailable(self, waited_s: float) -> BrokerUnavailable:
        """Describe why there is no connection."""
        return BrokerUnavailable(host=self._host, port=self._port, waited_s=waited_s, detail=self._last_detail)

    def _gives_up(self, was_welcome: bool, now: float) -> bool:
        """Return whether a worker that drains has looked for a broker to report to for long enough, and log that."""
        unreported = self._shell.unreported()
        if was_welcome or unreported is None:
            self._give_up_at = None
            return False
        if self._give_up_at is None:
            self._give_up_at = now + self._drain_grace_s
        if now < self._give_up_at:
            return False
        nodes = ", ".join(f"{UUID(bytes=held.node_id)} ({held.function.name})" for held in unreported)
        get_logger().warning(
            "the worker drains, and for %g s no broker at %s:%d took its reports (%s), so it ends; not reported, and "
            "run again where their functions allow it: %s",
            self._drain_grace_s,
            self._host,
            self._port,
            self._last_detail,
            nodes,
        )
        return True

    def _is_over(self) -> bool:
        return self._stopped or self._shell.is_over

    def _serve_stream(self) -> bool:
        """Serve one stream until it ends; return whether the broker had answered."""
        stream = self._shell.open_stream(host=self._host, port=self._port, hello=self._border.hello())
        self._stream = stream
        self._shell.connected(stream)
        if self._stopped:  # before this stream was known to `cut`
            stream.cancel()
        try:
            for response in stream.responses():
                self._border.receive(stream, response)
                if response.HasField("welcome"):
                    self._tell_connected()
            self._last_detail = "it ended the connection"
            self._is_refused = False
        except grpc.RpcError as error:
            self._last_detail = _describe(error)
            self._is_refused = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.INVALID_ARGUMENT
        finally:
            self._shell.disconnected()
            stream.close()
        return stream.was_welcome

    def _complain(self, since_s: float) -> None:
        """Tell that the broker does not answer."""
        if self.was_welcome:
            ago = f" {since_s:.0f} s ago" if since_s >= 1 else ""
            problem = f"the connection to the broker at {self._host}:{self._port} broke{ago}"
        else:
            answers = "no broker answers" if not self._is_refused else "the broker refuses this worker"
            problem = f"{answers} at {self._host}:{self._port}"
        self._owner.connection_changed(f"{problem} ({self._last_detail}); trying again", is_connected=False)
        self._is_connected = False


def _describe(error: grpc.RpcError) -> str:
    """Say in a few words what broke a stream."""
    if not isinstance(error, grpc.Call):
        return str(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return problem_in(error)
    return f"{error.code().name}: {error.details()}"
