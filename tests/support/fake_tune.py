"""A Tuner that runs nothing, for searchers."""

import random

from fake_scorer import fake_score
from ray.tune.search import Searcher

from spinesearch.space import ArchSpec


def outcome(config):
    """What Tune reports of a trial: the last report with the config in it, and whether it failed."""
    try:
        metrics = fake_score(ArchSpec.from_json(config["spec"]), config["seed"])
    except ArithmeticError:
        return None, True
    return {**metrics, **{f"config/{key}": value for key, value in config.items()}}, False


class FakeTune:
    """Runs trials as Tune does, ``num_workers`` at a time, finishing in random order."""

    def __init__(self, searcher, num_workers=3, order=0, first_id=0):
        self.searcher = searcher
        self.num_workers = num_workers
        self.rng = random.Random(order)
        self.running = {}
        self.configs = []
        self.next_id = first_id
        self.is_finished = False

    def step(self):
        while len(self.running) < self.num_workers and not self.is_finished:
            config = self.searcher.suggest(f"t{self.next_id}")
            if config is None:
                assert self.running, "everybody waits for a candidate that nobody scores"
                break
            if config == Searcher.FINISHED:
                self.is_finished = True
                break
            self.running[f"t{self.next_id}"] = config
            self.configs.append(config)
            self.next_id += 1
        if self.running:
            trial = self.rng.choice(sorted(self.running))
            result, error = outcome(self.running.pop(trial))
            self.searcher.on_trial_complete(trial, result=result, error=error)

    def run(self):
        while self.running or not self.is_finished:
            self.step()
