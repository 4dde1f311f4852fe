"""The code version of a function, at the path that it has had since dagorama 0.1."""

from __future__ import annotations

from dagorama.code.signature import calculate_function_hash as calculate_function_hash
