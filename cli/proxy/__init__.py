"""Commands that measure: the proxy task, its speed, a cluster."""
