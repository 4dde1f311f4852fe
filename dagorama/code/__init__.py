"""What a function's code version is made of: canonical source, the project's modules, and plain values."""
