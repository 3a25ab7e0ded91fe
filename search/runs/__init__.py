"""Where a run is kept: its folder and its mirror."""
