"""A broker's metrics and health over HTTP."""

import asyncio
import threading
from collections.abc import Callable

from dagorama.metrics.endpoint import Endpoint
from dagorama.metrics.exposing import expose
from dagorama.metrics.labels import Labels
from dagorama.metrics.measures import Readings
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.metrics.catalog import CATALOG, QUEUES_MAX, READY
from dagorama_broker.metrics.gauges import read_build, read_gauges
from dagorama_broker.metrics.tally import Tally
from dagorama_broker.values.values import Values

#: How often it is looked how late the event loop is.
BEAT_S = 0.25
#: An event loop that does not come to a request within this time hangs. Commits of large batches take a second at most.
LIVE_S = 5.0
#: So long a scrape may take on a busy loop.
SCRAPE_S = 9.0

#: What keeps a broker from being ready, as `/readyz` says it.
LOADING, DRAINING, FAILING = "loading", "draining", "failing"


class BrokerMetrics:
    """The metrics and the health of one broker. Make it and call `begin` on its event loop."""

    def __init__(self, host: Host, logs: Logs, values: Values, *, address: tuple[str, int]) -> None:
        """Take the address, to answer from `begin` on; raise `EndpointTaken` or `NoPrometheus`."""
        self._host = host
        self._logs = logs
        self._values = values
        self._queues = Labels(QUEUES_MAX)
        self._tally = Tally(self._queues)
        self._not_ready = LOADING
        self._loop = asyncio.get_running_loop()
        at, port = address
        self.endpoint = Endpoint("dagorama-broker", self, host=at, port=port)

    def begin(self) -> None:
        """Count from now on, and answer: that the broker is loading, first."""
        self._host.observer = self._tally
        self.endpoint.start()
        self._beat(self._loop.time())

    def is_loaded(self) -> None:
        """Have `/readyz` say that the broker is ready."""
        self._not_ready = ""

    def drain(self) -> None:
        """Have `/readyz` say that the broker is about to end."""
        self._not_ready = DRAINING

    def _beat(self, planned_at: float) -> None:
        now = self._loop.time()
        self._tally.lag.observe(now - planned_at)
        self._loop.call_at(now + BEAT_S, self._beat, now + BEAT_S)

    # -- for the endpoint, in threads of its own -----------------------------------------------------------------------

    def why_not_live(self) -> str:
        """Return that the event loop hangs, where it does. Taking over very much from the storage may hold it up."""
        if self._not_ready == LOADING:
            return ""
        came = threading.Event()
        if self._call(came.set) and came.wait(LIVE_S):
            return ""
        return f"the event loop has not answered for {LIVE_S:g} s"

    def why_not_ready(self) -> str:
        """Return the reason that was told last, or that the host takes no commands."""
        return self._not_ready or (FAILING if self._host.is_stopping else "")

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics as they are now; raise `TimeoutError` where the event loop does not come to it."""
        reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            readings = reading.result(SCRAPE_S)
        except TimeoutError:
            reading.cancel()
            raise
        return expose(CATALOG, lambda: readings, accept)

    async def _read(self) -> Readings:
        gauges = await read_gauges(self._host, self._logs, self._values, self._queues) if self._host.is_started else {}
        counted = {
            name: {
                labels: value if isinstance(value, (int, float)) else value.copy() for labels, value in values.items()
            }
            for name, values in self._tally.read().items()
        }
        return {**read_build(), **gauges, **counted, READY.name: {(): float(not self.why_not_ready())}}

    def _call(self, function: Callable[[], None]) -> bool:
        """Have the event loop call a function; return False where it is closed."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True
