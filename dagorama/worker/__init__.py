"""The worker: a process that is granted nodes by the broker, runs their functions, and reports how they ended.

options      what a worker is told when it starts
held         a node in the hands of this worker, and how its attempt ended
functions    from a function's name on the wire to what can be called
execution    one attempt: decode, call, encode; failures
slots        threads and the event loop that attempts run in
stream       one connection to the broker: what goes out and what comes in
agent        the worker itself: leases, reconnecting, draining
child, processes, supervisor    workers as processes
"""
