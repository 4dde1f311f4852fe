"""The ready nodes: their order, and what holds them back."""
