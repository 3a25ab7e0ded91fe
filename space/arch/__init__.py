"""What one network is: blocks, specs, identity, JSON, drawing."""
