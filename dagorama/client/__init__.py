"""How a process talks to the broker: one connection, requests that outlast hiccups, outcomes made into values."""
