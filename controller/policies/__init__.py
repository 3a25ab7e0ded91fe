"""What strategies with a policy are made of. Needs torch, but for `settings`."""
