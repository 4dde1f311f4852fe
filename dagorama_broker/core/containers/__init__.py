"""Data structures of the core that look into nothing of what is in them."""
