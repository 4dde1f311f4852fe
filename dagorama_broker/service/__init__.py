"""What the broker speaks: gRPC, over the host."""
