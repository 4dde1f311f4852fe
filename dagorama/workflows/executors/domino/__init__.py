"""The `domino` executor: commands as runs of a project at Domino, through its published client."""
