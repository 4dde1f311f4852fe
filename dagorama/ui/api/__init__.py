"""The JSON API: one row for each operation, from which its route, its description and its page follow."""
