"""The worker: a process that is granted nodes by the broker, runs their functions, and reports how they ended.

options      what a worker is told when it starts
held         a node in the hands of this worker, and how its attempt ended
execution    one attempt: decode, call, encode
failures     what an exception becomes on the wire
slots        threads and the event loop that attempts run in
board        what runs, where the parent can read it when the process has died
alarm        the kernel's timer, for nodes that can be ended in no other way
stream       one connection to the broker: what goes out and what comes in
connecting   staying connected: backoff, and what is said when the broker is silent
leases       what the worker holds: grants, recalls, revocations, the welcome, hand-backs, reports
stopping     nodes that are to stop because their leases are lost, and what is done about one that goes on
worker       the worker itself: how it starts, introduces itself, drains and ends
printing     what nodes print, in the log at once
child, processes    workers as processes; signals and shield: how they are told to end; news: what they tell
forking      what nodes fork has nothing of the worker; orphans: what process 1 sees off
vouching     telling the broker that processes live, or how they ended
supervisor   keeping processes running: replaced where they die, with a backoff
launched     the workers of a program's own; main_module: how they come by what is defined in it
"""
