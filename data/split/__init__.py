"""Which images are trained on and which scored on: groups, the split by them, and copies across it."""
