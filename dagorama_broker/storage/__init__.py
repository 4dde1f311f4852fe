"""The broker's memory, and its places. `url.open_journal` is the way in; `journal` holds the interface."""
