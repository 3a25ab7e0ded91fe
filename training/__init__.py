"""Trains and measures a network of any size, by the step; knows neither search, ledger nor Ray."""
