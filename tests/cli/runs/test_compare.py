"""``spinesearch compare``: what is equal, what says nothing of each other, strategies of one's own."""

import json
from pathlib import Path

import pytest
from cli_checks import fails
from written_runs import proposals, result, run_event, updates, write_search, write_training

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.run import load_run

REWARDS = [0.1, 0.3, None, 0.2]


def test_compare_counts_equal_numbers_and_seconds(tmp_path: Path, capsys):
    names = []
    for controller, seed, rewards, seconds in (
        ("random", 0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.9], 10.0),  # the last two are beyond the others
        ("random", 1, [0.3, 0.1, None, 0.2], 10.0),
        ("evolution", 0, [0.6, 0.1, 0.1, 0.1], 20.0),
    ):
        words = [f"controller={controller}", f"seed={seed}", f"search.num_trials={len(rewards)}"]
        names.append(str(tmp_path / f"{controller}-{seed}"))
        write_search(tmp_path / f"{controller}-{seed}", rewards, *words, seconds=seconds)
    assert main(["compare", *names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["candidates"] == [1, 2, 4]
    assert found["seconds"] == [5.0, 10.0, 20.0, 40.0]
    evolution, random = found["rows"]  # the best at the end first
    assert [len(evolution["runs"]), len(random["runs"])] == [1, 2]
    assert [figure["mean"] for figure in evolution["by_candidates"]] == [0.6, 0.6, 0.6]
    assert evolution["by_candidates"][0]["half_width"] is None
    assert [figure["mean"] for figure in random["by_candidates"]] == pytest.approx([0.2, 0.25, 0.35])
    # Student's t at 97.5 % with one degree of freedom is 12.706; the deviation of .4 and .3 is .0707.
    assert random["by_candidates"][-1]["half_width"] == pytest.approx(12.706 * 0.070711 / 2**0.5, rel=1e-3)
    assert [figure["mean"] for figure in random["by_seconds"]] == [None, 0.2, 0.25, 0.35]
    assert [figure["mean"] for figure in evolution["by_seconds"]] == [None, None, 0.6, 0.6]
    assert random["mean_of_last"]["mean"] == pytest.approx((0.25 + 0.15) / 2)  # a failure's reward is 0
    assert main(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "best ar100 after so many candidates" in out
    assert "0.3500 ±0.6353" in out
    assert f"random: {names[0]}, {names[1]}" in out


def test_compare_refuses_what_says_nothing_of_each_other(tmp_path: Path, capsys):
    def run(name: str, *words: str, key: str = "0" * 16) -> str:
        return str(write_search(tmp_path / name, REWARDS, "search.num_trials=4", *words, data_key=key))

    first = run("first")
    for name, other, message in (
        ("space", ["space=r23_sp30"], r"/space differs from .*/first: space.name is 'r23_sp30', there "),
        ("proxy", ["proxy_task.lr=0.1"], r"/proxy differs from .*: proxy_task.lr is 0.1, there 0.15;"),
        ("reward", ["search.reward_metric=ap"], r"search.reward_metric is 'ap', there 'ar100'.*--force"),
    ):
        fails(["compare", first, run(name, *other)], message, capsys)
    fails(["compare", first, run("data", key="1" * 16)], r"data \(key\) is '1", capsys)
    fails(["compare", first], "RUN: give two or more", capsys)
    fails(["compare", first, first], "is given twice", capsys)
    fails(["compare", first, run("same")], "is the same search as .*first, seed 0 too", capsys)
    training = str(write_training(tmp_path / "training"))
    fails(["compare", first, training], "is a training, and the first is a search; give runs of one", capsys)
    run("seed", "seed=1", "proxy_task.device=cpu")  # where it runs decides nothing
    assert main(["compare", first, str(tmp_path / "seed")]) == 0
    assert main(["compare", first, str(tmp_path / "data"), "--force"]) == 2  # the same seed
    run("other", "controller=ppo", key="2" * 16)
    capsys.readouterr()
    assert main(["compare", first, str(tmp_path / "other"), "--force"]) == 0
    assert "warning: " in capsys.readouterr().out


def test_compare_takes_a_strategy_of_one_s_own(tmp_path: Path, capsys):
    event = run_event("search.num_trials=4")

    def run(name: str, **changes: dict) -> str:
        with Ledger(tmp_path / name) as ledger:
            ledger.append([{**event, "config": {**event["config"], **changes}}])
            ledger.append([*proposals(4), *(result(number, 0.1) for number in range(4)), *updates(1)])
        return str(tmp_path / name)

    ours = run("ours")
    own = [run(f"own-{x}", controller={"name": "greedy", "random_share": x}) for x in (0.1, 0.2)]
    assert main(["compare", ours, *own, "--json"]) == 0
    found = {row["strategy"]: row["runs"] for row in json.loads(capsys.readouterr().out)["rows"]}
    shares = {"greedy random_share=0.1": own[:1], "greedy random_share=0.2": own[1:]}
    assert found == {"bayesian": [ours], **shares}
    worth = run("worth", search={**event["config"]["search"], "reward_metric": "worth"})
    fails(["compare", own[0], worth], "/worth: search.reward_metric: must be one of", capsys)


def test_compare_trainings_by_model_and_recipe(tmp_path: Path, capsys):
    def train(model: str, seed: int, *aps: float, words: tuple[str, ...] = (), key: str = "0" * 16) -> str:
        folder = tmp_path / f"{model}-{seed}-{len(aps)}-{'-'.join(words)}-{key}"
        return str(write_training(folder, None, f"seed={seed}", *words, name=model, aps=aps, data_key=key))

    a = [train("a", seed, 0.9, ap) for seed, ap in enumerate((0.1, 0.2))]  # what counts is the end
    b = [train("b", seed, 0.1, ap) for seed, ap in enumerate((0.2, 0.5))]
    narrow = train("a", 0, 0.1, 0.3, words=("train.filter_size_scale=0.187", "train.num_threads=1"))
    assert main(["compare", *a, *b, narrow, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["epoch"] is None
    wide_a, row_b, narrow_a = found["rows"]
    names = [row["model"] for row in found["rows"]]
    assert names == ["a filter_size_scale=0.25", "b", "a filter_size_scale=0.187"]
    assert wide_a["difference"] is None
    assert wide_a["scores"]["AP"]["mean"] == pytest.approx(0.15)
    assert row_b["scores"]["AP"]["mean"] == pytest.approx(0.35)
    # Of .1 and .3 the deviation is .141421; Student's t of one degree of freedom is 12.706.
    assert row_b["difference"]["mean"] == pytest.approx(0.2)
    assert row_b["difference"]["half_width"] == pytest.approx(12.706 * 0.141421 / 2**0.5, rel=1e-3)
    assert narrow_a["difference"] == {"mean": pytest.approx(0.2), "half_width": None}  # of seed 0 alone
    assert main(["compare", *a, *b]) == 0
    out = capsys.readouterr().out
    assert "on the validation images, at the end" in out
    assert "0.3500 ±1.9059" in out

    begun = train("b", 2, 0.6)
    assert main(["compare", *a, begun, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epoch"] == 1
    assert main(["compare", *a, begun]) == 0
    assert "epoch 1 is the last after which all were measured" in capsys.readouterr().out
    fails(["compare", *a, train("b", 3)], "b-3-0--0+: has not been measured yet", capsys)
    fails(["compare", *a, train("a", 1, 0.1, 0.1, words=("train.device=cpu",))], "the same training", capsys)
    other = train("b", 4, 0.1, 0.1, key="1" * 16)
    fails(["compare", *a, other], r"data \(key\) is '1+', there '0+'; their scores say nothing", capsys)
    assert main(["compare", *a, other, "--force"]) == 0
    assert "warning: " in capsys.readouterr().out


def test_a_training_of_a_later_release_is_named(tmp_path: Path, capsys):
    known = write_training(tmp_path / "known", None, "seed=1")
    run, _ = load_run(known)
    config = {**run.config, "train": {**run.config["train"], "of_a_later_release": 1}}
    with Ledger(tmp_path / "later") as ledger:
        ledger.append([{**run_event(), "config": config, "training": run.training}])
    fails(["compare", str(known), str(tmp_path / "later")], "/later: train.of_a_later_release", capsys)
