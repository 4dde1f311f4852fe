"""The worker's decisions: messages in, instructions out. No thread, no lock, no clock, no connection."""
