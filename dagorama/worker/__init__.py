"""The worker: a process that is granted nodes by the broker, runs their functions, and reports how they ended.

options      options of a worker
held         a node in the hands of this worker, and how its attempt ended
execution    one attempt: decode, call, encode
failures     from an exception to the failure on the wire
slots        threads and the event loop that attempts run in
board        the nodes that run, where the parent can read them when the process has died
alarm        the kernel's timer, for nodes that can be ended in no other way
kernel       the decisions; shell, mailbox: telling it what happens, and doing what it says; border: translating
stream       one connection to the broker: sending and receiving
connecting   staying connected: backoff, and complaints about a silent broker
stopping     exit statuses
worker       the worker itself: how it starts, drains and ends; owner: the port to its owner
printing     lines that nodes print, in the log at once; log, failure_log: the worker's own
child, processes    workers as processes; signals and shield: how they are told to end; news: their words to it
forking      children that nodes fork have nothing of the worker; orphans: the duty of process 1
vouching     telling the broker that processes live, or how they ended
supervisor   keeping processes running: replaced where they die, with a backoff
launched     the workers of a program's own; main_module: how they come by what is defined in it
"""
