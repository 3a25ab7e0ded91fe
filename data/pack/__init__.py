"""Packs: a data set decoded once per node, memory-mapped by all of its processes."""
