"""A call becomes a node: its name, its arguments with the promises in them, and how its definition is made again."""
