"""What a search begins with: named networks, and what another run has scored."""

import json
import shutil
from pathlib import Path

import pytest
from fake_scorer import FakeScorer, fake_score
from fake_search import Warnings, build_controller, only
from fake_space import SPACE
from long_suite import few

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.search.beginnings import beginnings_record, recorded_beginnings
from spinesearch.search.config.run_config import ConfigError, compose, run_config
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import Beginning, ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.space import SPINENET_49


def carry_out(run_dir: Path, beginnings: list[Beginning], controller: str, num_trials: int = 24) -> Run:
    """A search on the fake space; the trials that were trained."""
    with Ledger(run_dir) as ledger:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        if not run.sessions:
            ledger.append([{"event": "run", "config": {}, "time": 0.0}])
            run.apply({"event": "run", "config": {}, "time": 0.0})
        plan = SearchPlan(
            seed=0, num_trials=num_trials, generation_size=4, lag=1, reward_metric="ap", failed_reward=0.0
        )
        built = build_controller(controller, 0)
        source = ControlledCandidates(plan, SPACE, built, Checkpoints(run_dir, keep=3), beginnings)
        run_loop(
            source=source,
            space=SPACE,
            scorers=only(FakeScorer()),
            ledger=ledger,
            run=run,
            observer=Warnings(),
        )
    return run


def known(tokens: tuple[int, ...]) -> Beginning:
    metrics = {"ap": 0.9}
    result = {"status": "completed", "reward": 0.9, "metrics": metrics, "reused_from": "other"}
    return Beginning(tokens=tokens, result=result)


@pytest.mark.parametrize("controller", few(STRATEGIES, ["random", "reinforce", "bayesian"]))
def test_they_come_first_and_a_resumed_search_is_the_same(controller: str, tmp_path: Path):
    """Scored where nobody has, taken over where somebody has; cut anywhere, the ledger comes out equal."""
    first = Beginning(tokens=(1, 0, 1, 0, 1, 0))
    beginnings = [
        first,
        *(known(tokens) for tokens in [(0,) * 6, (1,) + (0,) * 5, (0, 1, 0, 0, 0, 0)]),
        first,
    ]
    run = carry_out(tmp_path / "whole", beginnings, controller)
    assert [trial.tokens for trial in run.trials[:5]] == [b.tokens for b in beginnings]
    assert [trial.reused_from for trial in run.trials[:5]] == ["", "other", "other", "other", ""]
    assert [trial.reward for trial in run.trials[1:4]] == [0.9] * 3
    assert run.trials[0].reward == fake_score(SPACE.decode(first.tokens), 0)["ap"]
    assert run.trials[4].status == "duplicate"
    lines = (tmp_path / "whole" / LEDGER_NAME).read_bytes().splitlines(keepends=True)
    for cut in (2, 4, 7, 9, len(lines) // 2):
        (tmp_path / str(cut)).mkdir()
        (tmp_path / str(cut) / LEDGER_NAME).write_bytes(b"".join(lines[:cut]))
        again = carry_out(tmp_path / str(cut), beginnings, controller)
        assert [(t.tokens, t.reward, t.status) for t in again.trials] == [
            (t.tokens, t.reward, t.status) for t in run.trials
        ]
        assert [u.digest for u in again.updates] == [u.digest for u in run.updates]


def config(*words: str, num_trials: int = 64):
    return run_config(compose([f"search.num_trials={num_trials}", *words]))


def test_named_networks_become_choices(tmp_path: Path):
    """A preset and a file; the same network once."""
    path = tmp_path / "mine.json"
    path.write_text(SPINENET_49.to_json())
    record = beginnings_record(config(f"search.initial=[spinenet49,SpineNet-49,{path}]"), "key")
    assert len(record) == 1
    (beginning,) = recorded_beginnings(json.loads(json.dumps({"beginnings": record})))
    assert config().space.build().decode(beginning.tokens).arch_id == SPINENET_49.arch_id
    assert beginning.result is None
    assert recorded_beginnings({}) == []  # an older ledger


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.initial=[resnet49]"], "search.initial: preset: no architecture is called 'resnet49'"),
        (["search.initial=[gone.json]"], "search.initial: gone.json: cannot be read"),
        (
            ["search.initial=[spinenet49]", "space.window=2"],
            "search.initial: spinenet49: spec spinenet49 is not in the space spinenet: block 3 reach",
        ),
        (["search.initial=[spinenet49]", "search.num_trials=1"], "search.num_trials: the 1 candidates of"),
        (["search.warm_start=nowhere"], "search.warm_start: nowhere: is not a run"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_by_name(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        beginnings_record(config(*words), "key")


FIXTURE = Path(__file__).parents[1] / "fixtures/november_2026/runs"


def of_fixture(*words: str):
    """The settings that the recorded search had, and the key of its data."""
    event = json.loads((FIXTURE / "search" / LEDGER_NAME).read_text().splitlines()[0])
    recorded = {**event["config"], "name": None}
    recorded["search"] = {**recorded["search"], "num_trials": 20, "warm_start": str(FIXTURE / "search")}
    for word in words:
        key, value = word.split("=")
        section, name = key.split(".")
        recorded[section][name] = json.loads(value)
    return run_config(recorded), event["data"]["key"]


def test_another_runs_results_are_taken_over(tmp_path: Path):
    """They are in the ledger then: the other folder may be gone."""
    shutil.copytree(FIXTURE / "search", tmp_path / "search")
    record = beginnings_record(*of_fixture())
    assert len(record) == 5
    assert {entry["result"]["reused_from"] for entry in record} == {"search"}
    assert record[0]["result"]["metrics"]["num_parameters"] == 239587


def test_a_candidate_that_stopped_at_a_rung_is_not_taken_for_a_whole_training(tmp_path: Path):
    events = [dict(event) for event in read_ledger(FIXTURE / "search" / LEDGER_NAME).events]
    first = next(event for event in events if event.get("status") == "completed")
    first["is_stopped"] = True
    with Ledger(tmp_path / "search") as ledger:
        ledger.append(events)
    folder = json.dumps(str(tmp_path / "search"))
    assert len(beginnings_record(*of_fixture(f"search.warm_start={folder}"))) == 4
    with pytest.raises(ConfigError, match=r"search\.warm_start: a search with search\.rungs compares"):
        beginnings_record(*of_fixture("search.rungs=[[1,0.5]]"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["proxy_task.num_steps=3"], "proxy_task.num_steps is 2 there and 3 here"),
        (["space.window=4"], "space.window is 5 there and 4 here"),
        (["search.warm_start=" + json.dumps(str(FIXTURE / "variance"))], "holds a study"),
    ],
)
def test_a_run_that_scored_otherwise_is_refused_by_name(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        beginnings_record(*of_fixture(*words))


def test_other_data_are_refused_by_name():
    wanted, _ = of_fixture()
    with pytest.raises(ConfigError, match=r"search.warm_start: .*: data key is '\w+' there and 'other' here"):
        beginnings_record(wanted, "other")
