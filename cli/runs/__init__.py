"""Commands on runs: search, resume, show and what follows."""
