"""The broker: authority over instances and nodes."""
