"""The command line: one file per command, by what it works on. Nothing imports it."""
