"""The tests. A package by its file, as some distributions install one of this name beside it."""
