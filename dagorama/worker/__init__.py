"""The worker: a process that is granted nodes by the broker, runs their functions, and reports how they ended.

kernel       the decisions: no thread, no lock, no clock, no connection
shell        tells the kernel what happens, and does what it says: one worker, in any process
processes    workers as processes of their own
options      options of a worker; owner: the port to its owner; importing: modules that it needs
"""
