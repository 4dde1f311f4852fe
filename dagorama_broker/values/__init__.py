"""The values that are too large for messages: kept by content, sent in chunks, collected when unused."""
