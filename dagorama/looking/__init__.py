"""Looking at all that a broker has: its instances, workers and queues, and what happens to them."""
