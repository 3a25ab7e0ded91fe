"""Long trainings as runs: the folder, its lock and lease, what is recorded and shown."""
