"""Generated from protos/dagorama/v1: what travels between programs, workers and the broker."""
