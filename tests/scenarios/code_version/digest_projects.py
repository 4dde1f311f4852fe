"""Prints the code versions of projects as JSON, each project in a process of its own. Needs nothing but Python.

`python digest_projects.py FOLDER...` where each folder has a package `shop`.
"""

from __future__ import annotations

import json
import os
import sys

import dagorama.decorators  # noqa: F401 - loaded once for all children
from dagorama.code_signature import calculate_function_hash


def digests(folder: str) -> dict[str, str]:
    """Imports the project and returns the code version of each function in `shop.tasks.VERSIONED`."""
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    from shop.tasks import VERSIONED  # type: ignore[import-not-found]  # made by the test

    return {name: calculate_function_hash(function) for name, function in VERSIONED.items()}


def in_own_process(folder: str) -> dict[str, str]:
    """Calls `digests` in a child; an error there is printed there and ends this process, too."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with open(writing, "w") as answer:
            json.dump(digests(folder), answer)
            answer.flush()
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{folder} has no digests")
    found: dict[str, str] = json.loads(text)
    return found


if __name__ == "__main__":
    print(json.dumps({folder: in_own_process(folder) for folder in sys.argv[1:]}))
