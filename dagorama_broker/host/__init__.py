"""The single writer: it takes commands, lets the core decide, commits, and only then lets anything out."""
