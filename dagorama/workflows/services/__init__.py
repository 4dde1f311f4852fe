"""Services: programs of workflows that go on when their tasks have succeeded, until they are replaced or stopped."""
