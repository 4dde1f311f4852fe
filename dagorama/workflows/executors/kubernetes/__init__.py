"""The `kubernetes` executor: commands as Jobs of a cluster, each with one pod, which the cluster keeps."""
