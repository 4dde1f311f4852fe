"""Waits for so long as is said, such as 0.3s, and writes down for how long that was."""

import os
import sys
import time
from pathlib import Path

seconds = float(sys.argv[1].removesuffix("s"))
print(f"waiting for {seconds:g} s", os.environ.get("NOTE", ""), flush=True)
time.sleep(seconds)
Path("output.txt").write_text(f"{seconds:g}\n")
