"""python -m tests.docs.helps MARK COMMAND...: print the help of commands of `dagorama`, with a mark after each.

A page may show dozens of them, and starting Python anew takes longer than all else that each does.
"""

import sys

from dagorama.cli.main import group


def tell(mark: str, *typed: str) -> None:
    """Print what each of `typed` prints, and the mark after each."""
    for command in typed:
        program, *words = command.split()
        group.main(words, prog_name=program, standalone_mode=False)
        print(mark, flush=True)


if __name__ == "__main__":
    tell(*sys.argv[1:])
