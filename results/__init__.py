"""The run's ledger and everything read from it: tables, exports."""
