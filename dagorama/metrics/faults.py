"""Why metrics cannot be served."""

from __future__ import annotations


class MetricsError(Exception):
    """Metrics cannot be served; the message says why, and the way out."""


class NoPrometheus(MetricsError):
    """prometheus-client is not installed."""

    def __init__(self) -> None:
        super().__init__("metrics need prometheus-client; install it with: pip install 'dagorama[metrics]'")


class EndpointTaken(MetricsError):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"metrics cannot be served on {host}:{port}: {reason}. If another program has the port, choose another "
            "with --metrics-port or DAGORAMA_METRICS_PORT (0 picks a free one)"
        )
