"""Everything of Ray: cluster, workers, nodes, timeouts."""
