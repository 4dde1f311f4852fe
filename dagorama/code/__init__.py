"""The making of a function's code version: canonical source, the project's modules, and plain values."""
