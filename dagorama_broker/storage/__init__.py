"""What the broker remembers, and where. `url.open_journal` is the way in; `journal` holds the interface."""
