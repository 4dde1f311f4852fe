"""The settings of a broker process as people are told of them: where each comes from, and no secrets."""

import re
from collections.abc import Collection, Mapping

from dagorama_broker.requests.answers import SettingInfo
from dagorama_broker.settings import BrokerSettings, show_kept

_PASSWORD = re.compile(r"(?<=://)[^/@]*@")


def told_settings(
    settings: BrokerSettings, environ: Mapping[str, str], on_command_line: Collection[str], *, log_level: str
) -> list[SettingInfo]:
    """Return the settings; `on_command_line` has the variables in whose place an option was given."""
    scheduler = settings.scheduler
    log_bytes = settings.log_store_bytes_max
    values = {
        "DAGORAMA_HOST": settings.host,
        "DAGORAMA_PORT": str(settings.port),
        "DAGORAMA_STORAGE": _PASSWORD.sub("***@", settings.storage),
        "DAGORAMA_VALUES": settings.values,
        "DAGORAMA_VALUE_MAX": str(settings.value_max),
        "DAGORAMA_VALUES_UNUSED_S": f"{settings.values_unused_s:g}",
        "DAGORAMA_INSECURE": "1" if settings.insecure else "0",
        "DAGORAMA_ENVIRONMENT": settings.environment,
        "DAGORAMA_METRICS_HOST": settings.metrics_host,
        "DAGORAMA_METRICS_PORT": "" if settings.metrics_port is None else str(settings.metrics_port),
        "DAGORAMA_LEASE_DURATION_S": f"{scheduler.lease_duration_s:g}",
        "DAGORAMA_DELIVERIES_MAX": str(scheduler.deliveries_max),
        "DAGORAMA_CALL_NODES_MAX": f"{scheduler.call_nodes_max:.0f}",
        "DAGORAMA_INSTANCE_NODES_MAX": f"{scheduler.instance_nodes_max:.0f}",
        "DAGORAMA_INSTANCE_BYTES_MAX": f"{scheduler.instance_bytes_max:.0f}",
        "DAGORAMA_RECONNECT_GRACE_S": f"{scheduler.reconnect_grace_s:g}",
        "DAGORAMA_LOG_STORE_BYTES_MAX": "" if log_bytes is None else str(log_bytes),
        "DAGORAMA_KEEP_COMPLETED": show_kept(scheduler.keep.completed_s),
        "DAGORAMA_KEEP_FAILED": show_kept(scheduler.keep.failed_s),
        "DAGORAMA_KEEP_CANCELLED": show_kept(scheduler.keep.cancelled_s),
        "DAGORAMA_KEEP_TOMBSTONES": show_kept(scheduler.keep_tombstones_s),
        "DAGORAMA_KEEP_BYTES_MAX": "" if settings.keep_bytes_max is None else str(settings.keep_bytes_max),
        "--log-level": log_level,
    }
    return [SettingInfo(name, value, _source(name, environ, on_command_line)) for name, value in values.items()]


def _source(name: str, environ: Mapping[str, str], on_command_line: Collection[str]) -> str:
    if name in on_command_line:
        return "command line"
    return "environment" if environ.get(name) else "default"
