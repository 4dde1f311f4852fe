"""The `container` executor: jobs as containers of podman or docker, each with a keeper that outlives the worker."""
