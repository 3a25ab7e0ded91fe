"""Hydra yaml, one group per package; ``experiment/`` holds named whole runs."""
