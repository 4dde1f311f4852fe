"""A node runs: its context, its stack, the calls that it makes, and how an attempt at it ends; inline, all of it."""
