"""Promises, which stand for values while a graph is being drawn, and the arguments of calls."""
