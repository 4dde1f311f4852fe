"""The logs of nodes: kept in a store of their own, apart from the graph and its commits."""
