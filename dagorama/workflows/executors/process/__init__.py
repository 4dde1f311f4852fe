"""The `process` executor: jobs as processes of the worker's machine, each with a keeper that outlives the worker."""
