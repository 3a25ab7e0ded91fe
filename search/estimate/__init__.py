"""What a search or training will take before it starts: hours, wall time, money, energy."""
