"""Adds up what the fruits have written down."""

import sys
from pathlib import Path

total = sum(float(Path(fruit, "output.txt").read_text()) for fruit in sys.argv[1:])
Path("total.txt").write_text(f"{Path('title.txt').read_text()}{total:.1f}\n")
print(f"{total:.1f}")
