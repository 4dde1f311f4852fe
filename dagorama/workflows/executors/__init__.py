"""Executors: where the commands of tasks run. Plug-ins of the entry point group `dagorama.executors`."""
