"""The broker's speech: gRPC, over the host."""
