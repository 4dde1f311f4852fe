"""Metrics and health of a process of dagorama, broker or worker, over HTTP.

measures   metrics with names and kinds, and readings of them, which add up over processes
counting   counting where it happens, for as little as it costs
labels     names as labels, of which there is no end: bounded
exposing   readings as Prometheus wants them, by prometheus-client (the extra `metrics`)
faults     why that cannot be
endpoint   the HTTP server, in a thread of its own: /metrics, /livez, /readyz, /version
"""
