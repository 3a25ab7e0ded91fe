"""What a run is: its ledger, lock and lease, and the run read from it."""
