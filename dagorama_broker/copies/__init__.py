"""Copies of SQLite files that are in use."""
