"""Exit statuses of a process that ends because a node does not."""

#: The time of the node was over.
EXIT_OVERRUN = 5
#: It was cancelled.
EXIT_CANCELLED = 6
