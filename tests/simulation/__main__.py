"""Many simulations: `python -m tests.simulation SEED [SEED|FIRST-LAST ...] [--trace]`."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from hashlib import sha256
from time import monotonic

from tests.simulation.simulation import simulate


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    """Run them, tell of those in which something is wrong, and return how many that were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=_seeds, help="a seed, or the first and the last as FIRST-LAST")
    parser.add_argument("--trace", action="store_true", help="print every event")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # failing attempts and refused reports are what is wanted
    began_at = monotonic()
    runs, wrong = 0, []
    digest = sha256()
    for seed in (seed for seeds in options.seeds for seed in seeds):
        runs += 1
        try:
            result = simulate(seed, write=print if options.trace else None)
        except Exception:
            wrong.append(seed)
            print(f"seed {seed}:", file=sys.stderr)
            traceback.print_exc()
        else:
            digest.update(result.digest.encode())
    print(f"all events: {digest.hexdigest()}")
    print(f"{runs} seeds in {monotonic() - began_at:.0f} s; wrong: {', '.join(map(str, wrong)) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
