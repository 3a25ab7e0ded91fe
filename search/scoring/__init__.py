"""From a candidate to its reward: the scorer's protocol, the serial scorer, the reward."""
