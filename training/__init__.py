"""Trains and measures a network of any size, step by step; imports neither search, ledger nor Ray."""
