"""Settings: composed from yaml and the command line, and checked."""
