"""The broker's decisions: a pure state machine without I/O, clock, locks or randomness of its own.

Commands go in and events come out, through `Scheduler.handle` alone. The server, the in-process broker of users' unit
tests and the fault simulator run it unchanged.
"""
