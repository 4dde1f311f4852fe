"""Traces of instances, by OpenTelemetry, where `DAGORAMA_TRACES` asks for them.

ids       the ids of spans, which follow from those of nodes, and contexts as text (W3C Trace Context)
spawning  the context that an instance is started in
spans     the spans of attempts, in workers
ending    the span of an instance, when it has ended

Nothing here imports OpenTelemetry before a span is made.
"""
