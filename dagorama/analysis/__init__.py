"""Make sense of an instance from plain facts of its nodes: where its time went, and how it is drawn. It asks nobody."""
