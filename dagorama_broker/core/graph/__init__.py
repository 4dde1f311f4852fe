"""The instances and their nodes: growing, waiting, ending, beginning anew."""
