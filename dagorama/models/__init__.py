"""What stands for values while a graph is being drawn: promises, and the arguments of a call."""
