"""The kernel's shell, for one worker: threads, the event loop, the stream, and the border to the messages on it.

worker       the worker itself: how it is put together, starts, drains and ends
shell        tells the kernel what happens, and does what it says; mailbox: one thread at a time does so
border       translates between the broker's messages and the kernel's
stream       one connection to the broker: sending and receiving; connecting: one after the other, with a backoff
slots        threads and the event loop (node_loop) that attempts run in
execution    one attempt: decode, call, encode; failures: from an exception to the failure on the wire
versions     versions of functions against the ones that nodes were made with
listing      decorated functions of modules
held         a node in the hands of this worker, and how its attempt ended
board        the nodes that run, where the parent can read them when the process has died
alarm        the kernel's timer, for nodes that can be ended in no other way; stopping: exit statuses then
forking      children that nodes fork have nothing of the worker
log          the worker's own log; failure_log: failed attempts in it
"""
