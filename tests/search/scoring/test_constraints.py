"""What a network may cost: hard limits, decided before training, and what cost does to a reward."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_scorer import FakeScorer
from fake_search import Warnings, only
from long_suite import few

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.pareto import pareto_front, recommended
from spinesearch.search.config.settings import SearchSettings
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import Beginning, ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring import constraints
from spinesearch.search.scoring.constraints import Limits, limited
from spinesearch.search.scoring.reward import SoftCost, reward_of
from spinesearch.space import SPINENET_49, SpineNetSpace, backbone_cost
from spinesearch.space.cost import Cost

SPACE = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=2, level_offsets=(0, 1))
SAMPLES = [SPACE.sample(np.random.default_rng(i)) for i in range(200)]


def cost(spec) -> Cost:
    return backbone_cost(spec, 128, filter_size_scale=0.25)


def multiply_adds(tokens) -> int:
    return cost(SPACE.decode(tokens)).multiply_adds


COSTS = sorted(map(multiply_adds, SAMPLES))
ALL_COSTS = [multiply_adds(SPACE.sample(np.random.default_rng(i))) for i in range(1000, 2500)]
# A fifth of the uniform samples keep to these, and half to those.
TIGHT = Limits(cost=cost, max_multiply_adds=COSTS[40], max_parameters=None)
LOOSE = Limits(cost=cost, max_multiply_adds=COSTS[100], max_parameters=None)


def carry_out(
    run_dir: Path,
    name: str,
    *beginnings: Beginning,
    limits: Limits = TIGHT,
    observer: SearchObserver | None = None,
) -> tuple[Run, FakeScorer]:
    scorer = FakeScorer()
    controller = STRATEGIES[name]().build(limited(SPACE, limits), seed=0)
    plan = SearchPlan(seed=0, num_trials=20, generation_size=4, lag=1, reward_metric="ap", failed_reward=0.0)
    with Ledger(run_dir) as ledger:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        if not run.sessions:
            ledger.append([{"event": "run", "config": {}, "time": 0.0}])
            run.apply({"event": "run", "config": {}, "time": 0.0})
        checkpoints = Checkpoints(run_dir, keep=3)
        run_loop(
            source=ControlledCandidates(plan, SPACE, controller, checkpoints, beginnings, limits),
            space=SPACE,
            scorers=only(scorer),
            ledger=ledger,
            run=run,
            observer=observer or Warnings(),
        )
    return run, scorer


@pytest.mark.parametrize("name", few(STRATEGIES, ["random", "evolution", "bayesian"]))
def test_every_strategy_proposes_what_is_cheap_enough(name: str, tmp_path: Path):
    """And a network that people name, and that is too dear, is not trained."""
    dear = max(SAMPLES, key=multiply_adds)
    whole, scorer = carry_out(tmp_path / "whole", name, Beginning(tokens=dear))
    first, *others = whole.trials
    assert (first.status, first.reward, first.metrics) == ("infeasible", None, {})
    assert first.reason == TIGHT.excess(SPACE.decode(dear))
    assert 0 not in scorer.submitted
    assert not any(TIGHT.excess(SPACE.decode(trial.tokens)) for trial in others)
    # Cut between the proposals and the first result, it is resumed to the same end.
    lines = (tmp_path / "whole" / LEDGER_NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / LEDGER_NAME).write_bytes(b"".join(lines[:5]))
    cut, _ = carry_out(tmp_path / "cut", name, Beginning(tokens=dear))
    assert [(t.tokens, t.status, t.reward) for t in cut.trials] == [
        (t.tokens, t.status, t.reward) for t in whole.trials
    ]


def test_what_another_run_has_scored_is_infeasible_where_it_is_too_dear(tmp_path: Path):
    """Else the best of a search might be a network that it rules out."""
    dear, cheap = (choose(SAMPLES, key=multiply_adds) for choose in (max, min))
    result = {"status": "completed", "reward": 0.99, "metrics": {"ap": 0.99}, "reused_from": "other"}
    beginnings = [Beginning(tokens=tokens, result=result) for tokens in (dear, cheap)]
    run, scorer = carry_out(tmp_path, "evolution", *beginnings)
    assert [(t.status, t.reward) for t in run.trials[:2]] == [("infeasible", None), ("completed", 0.99)]
    assert run.trials[0].reason == TIGHT.excess(SPACE.decode(dear))
    assert not {0, 1} & set(scorer.submitted)


@pytest.mark.parametrize("finds", [True, False])
def test_a_strategy_that_finds_little_within_a_limit_says_so_once(tmp_path: Path, monkeypatch, finds: bool):
    """One network in a hundred is cheap enough. What people name is not the strategy's."""
    if not finds:  # as where even 1,000 samples hold no network that is
        monkeypatch.setattr(constraints._Limited, "sample", lambda space, rng: space._space.sample(rng))
    limits = Limits(cost=cost, max_multiply_adds=float(np.quantile(ALL_COSTS, 0.01)), max_parameters=None)
    dear = [Beginning(tokens=tokens) for tokens in sorted(SAMPLES, key=multiply_adds)[-4:]]
    watching = Warnings()
    run, _ = carry_out(tmp_path, "reinforce", *dear, limits=limits, observer=watching)
    said = [line for line in watching.messages if "are over a limit of the search" in line]
    if finds:
        assert not said
        assert [t.trial for t in run.trials if t.status == "infeasible"] == [0, 1, 2, 3]
    else:
        assert len(said) == 1
        assert re.match(r"update [1-4]: [34] of 4 candidates are over a limit .* and not trained; ", said[0])


def test_samples_are_uniform_among_the_cheap_ones():
    """Two hundred of them cost on average what the cheaper half of 200 others does, within 4 errors."""
    space = limited(SPACE, LOOSE)
    found = [multiply_adds(space.sample(np.random.default_rng(1000 + i))) for i in range(200)]
    assert max(found) <= COSTS[100]
    error = np.hypot(np.std(found) / np.sqrt(200), np.std(COSTS[:101]) / np.sqrt(101))
    assert abs(np.mean(found) - np.mean(COSTS[:101])) < 4 * error


def test_a_budget_that_nothing_meets_is_said_with_the_cheapest():
    too_low = Limits(cost=cost, max_multiply_adds=1e5, max_parameters=None)
    message = (
        r"none of 1,000 random networks .* [0-9a-f]{12}, has [0-9,]+ multiply-adds, search.max_multiply_adds"
    )
    with pytest.raises(ValueError, match=message):
        limited(SPACE, too_low)
    rng = np.random.default_rng(0)
    drawn = [SPACE.decode(SPACE.sample(rng)) for _ in range(1000)]
    smallest = min(drawn, key=lambda spec: cost(spec).parameters)
    too_few = Limits(cost=cost, max_multiply_adds=1e15, max_parameters=1.0)
    message = f"the cheapest, {smallest.arch_id}, has {cost(smallest).parameters:,} parameters, search.max_"
    with pytest.raises(ValueError, match=message):
        limited(SPACE, too_few)


@pytest.mark.parametrize(
    ("num_trials", "learns", "is_said"), [(8, True, True), (9, True, False), (8, False, False)]
)
def test_a_search_too_short_to_learn_from_anything_is_warned_of(tmp_path: Path, num_trials, learns, is_said):
    """Two generations of four are proposed before the first is learnt from."""
    plan = SearchPlan(
        seed=0,
        num_trials=num_trials,
        generation_size=4,
        lag=1,
        reward_metric="ap",
        failed_reward=0.0,
        learns=learns,
    )
    controller, said = STRATEGIES["evolution"]().build(SPACE, seed=0), []
    source = ControlledCandidates(plan, SPACE, controller, Checkpoints(tmp_path, keep=3))
    next(source.steps(Run(), said.append))
    assert bool(said) == is_said
    if said:
        assert said[0].startswith(
            "search.num_trials: the first 8 candidates, (lag + 1) x generation_size, are"
        )
        assert "give search.num_trials=32, or a smaller search.generation_size" in said[0]


def test_parameters_are_limited_too():
    both = Limits(cost=cost, max_multiply_adds=1e12, max_parameters=1000)
    assert both.excess(SPINENET_49).endswith(" parameters, search.max_parameters is 1,000")
    assert not Limits(cost=cost, max_multiply_adds=None, max_parameters=1e12).excess(SPINENET_49)


def test_cost_lowers_a_reward():
    """Twice the target at -0.07: 2 ** -.07 = .95264; at the target nothing."""
    soft = SoftCost(target=1e6, weight=-0.07)
    for dear, expected in ((1e6, 0.3), (2e6, 0.3 * 0.95264), (5e5, 0.3 / 0.95264)):
        metrics = {"ap": 0.3, "num_multiply_adds": dear}
        found = reward_of(metrics, metric="ap", failed_reward=0.0, soft_cost=soft)
        assert found == pytest.approx(expected, rel=1e-4)
    assert reward_of(None, metric="ap", failed_reward=-1.0, soft_cost=soft) == -1.0


def trial(number: int, ap: float | None, dear: int, status: str = "completed") -> Trial:
    metrics = {"ap": ap, "num_multiply_adds": dear}
    return Trial(trial=number, tokens=(0,), arch_id=f"{number}", status=status, reward=ap, metrics=metrics)


def test_the_front_has_what_nothing_else_beats():
    trials = [
        trial(0, 0.20, 100),
        trial(1, 0.19, 100),  # as dear, and worse
        trial(2, 0.25, 200),
        trial(3, 0.24, 300),  # dearer, and worse
        trial(4, 0.26, 1000),
        trial(5, 0.90, 50, "duplicate"),
        trial(6, None, 10),
    ]
    front = pareto_front(trials, metric="ap", cost="num_multiply_adds")
    assert [t.trial for t in front] == [0, 2, 4]
    # Twice the cost brings 25 %, more than 5; five times the cost then 4 %.
    assert recommended(front, metric="ap", cost="num_multiply_adds").trial == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_multiply_adds", 0.0), ("max_parameters", -1.0), ("cost_target", 0.0), ("cost_weight", 0.07)],
)
def test_bad_settings_name_the_field(field: str, value: float):
    path = Path(__file__).parents[2] / "fixtures/november_2026/runs/search" / LEDGER_NAME
    recorded = json.loads(path.read_text().splitlines()[0])["config"]["search"]
    with pytest.raises(ValueError, match=f"search.{field}: must be .*, got {value}"):
        SearchSettings(**{**recorded, field: value})
