"""The leases of nodes to workers: grants, recalls, the ends of attempts, and workers that come and go."""
