"""How fast it is: the measurements that the README quotes, each beside the standard library's process pool."""
