"""Print a greeting; a task of demo.cfg."""

import sys

print(*sys.argv[1:])
