"""Studies of the proxy task, carried out as runs."""
