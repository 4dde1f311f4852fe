"""The directory of a run: files are staged in before a command, and staged out after it."""
