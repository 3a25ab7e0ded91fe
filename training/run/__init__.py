"""Long trainings: the loop over epochs with its checkpoints. Knows neither a ledger nor Ray."""
