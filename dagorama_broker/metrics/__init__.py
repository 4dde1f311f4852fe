"""The metrics of a broker. Nothing here runs unless they are asked for.

catalog   all metrics by name
tally     events, once they are durable, and commits, counted
gauges    the core, the streams and the stores as they are when somebody asks
serving   the two together over HTTP, with the broker's health
"""
