"""What a search's settings come to: that each reaches the part which carries it out."""

from collections import Counter
from pathlib import Path

import pytest
from fake_scorer import FakeScorer
from fake_search import Warnings, only

from spinesearch.proxy_task.request import LATENCY_DEVICE, LATENCY_MS
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.search.beginnings import beginnings_record
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.search_request import SearchRequest
from spinesearch.space import SPINENET_49


class Costly:
    """Every network has twice the multiply-adds of the target below, and takes a millisecond."""

    def __init__(self) -> None:
        self.limits: list[float | None] = []  # on latency, of each training

    def __call__(self, spec, seed):
        raise AssertionError("its latency is asked for")

    def train(self, spec, seed, request):
        self.limits.append(request.max_latency_ms)
        return {"ar100": 0.2, "num_multiply_adds": 2e7, LATENCY_MS: 1.0, LATENCY_DEVICE: "a device"}, {}


def carry_out(run_dir: Path, score: Costly, *words: str) -> tuple[Run, list[str]]:
    base = ["proxy_task=small", "controller=evolution", "search.num_trials=8", "search.generation_size=4"]
    config = run_config(compose([*base, "search.finalists=0", *words]))
    space, watching = config.space.build(), Warnings()
    event = {"event": "run", "config": config.to_dict(), "time": 0.0}
    event["data"] = {"num_train_images": 332, "class_names": ["a", "b", "c"]}
    event["beginnings"] = beginnings_record(config, "key")
    with Ledger(run_dir) as ledger:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        source = SearchRequest(config=config).source(space, run_dir, event)
        ledger.append([event])
        run.apply(event)
        run_loop(
            source=source,
            space=space,
            scorers=only(FakeScorer(score=score)),
            ledger=ledger,
            run=run,
            observer=watching,
        )
    return run, watching.messages


def test_beginnings_limits_and_the_cost_of_a_reward_reach_the_loop(tmp_path: Path):
    """SpineNet-49 has more than 250,000 parameters there; twice the target at -0.5 is a factor of .7071."""
    score = Costly()
    costs = ["search.cost_target=1e7", "search.cost_weight=-0.5"]
    limits = ["search.max_parameters=250000", "search.max_latency_ms=7"]
    run, _ = carry_out(tmp_path, score, "search.initial=[spinenet49]", *costs, *limits)
    first, *others = run.trials
    assert (first.arch_id, first.status) == (SPINENET_49.arch_id, "infeasible")
    assert first.reason.endswith(" parameters, search.max_parameters is 250,000")
    assert Counter(trial.status for trial in others) == {"completed": 7}
    assert [trial.reward for trial in others] == pytest.approx([0.2 * 0.5**0.5] * 7)
    assert score.limits == [7.0] * 7


def test_a_search_too_short_to_learn_is_warned_of_unless_nothing_is_learnt(tmp_path: Path):
    asked = ("search.max_latency_ms=7",)
    for controller, is_said in (("evolution", True), ("random", False)):
        _, said = carry_out(tmp_path / controller, Costly(), *asked, f"controller={controller}")
        assert any("are proposed before anything is learnt" in line for line in said) == is_said
