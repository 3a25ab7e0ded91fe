"""Commands on this machine and its shell."""
