"""Finalists from the command line: real trainings, in seconds."""

import json
from pathlib import Path

import pytest
import torch
from cli_checks import fails

from spinesearch import load_detector, load_spec
from spinesearch.cli.main import main
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.results.finalists import final_ranking, standings
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.finalist_config import rerank_config
from spinesearch.search.estimate.pace import Pace
from spinesearch.search.estimate.search_estimate import search_estimate
from spinesearch.search.finalist_plan import finalist_plan
from spinesearch.search.loop.finalists import Finalists


def with_a_finalist(serial: list[str]) -> list[str]:
    """The command of a search that ends with one finalist and one seed."""
    settings = [text for text in serial if not text.startswith(("search.finalists", "search.num_trials"))]
    finalists = ["search.finalists=1", "search.finalist_seeds=1", "search.finalist_length=1"]
    return ["search", *settings, *finalists, "name=run"]


def test_a_search_ends_with_its_finalists_and_they_are_ranked_again(serial, tmp_path: Path, capsys):
    run_dir, command = tmp_path / "runs" / "run", with_a_finalist(serial)
    assert main([*command, "search.num_trials=2"]) == 0
    out = capsys.readouterr().out
    assert "then the best 1 and 2 baselines with 1 seed" in out
    assert "[3/3] resnet50_fpn seed 1  ap 0." in out
    assert out.count("baseline") >= 2
    run, _ = load_run(run_dir)
    assert len(run.finalists) == 3
    assert {t.seed for t in run.finalists} == {1}
    assert all(t.status == "completed" for t in run.finalists)
    costs = {t.baseline: t.metrics["num_multiply_adds"] for t in run.finalists}
    assert 0.3 < costs["resnet50_fpn"] / costs["spinenet49"] < 3  # at the widths of the proxy task

    # The export follows the new order, with weights that rebuild what was trained.
    exported = [Path(line.split()[1]) for line in out.splitlines() if line.startswith("exported ")]
    order = final_ranking(run)
    assert [load_spec(path) for path in exported] == [run.spec(trial) for trial in order]
    assert [path.with_suffix(".weights.safetensors").exists() for path in exported] == [True, False]
    detector = load_detector(exported[0].with_suffix(".weights.safetensors"))
    assert isinstance(detector, RetinaNet)
    assert detector.backbone.spec == run.spec(order[0])
    assert detector(torch.zeros(1, 3, 128, 128))[0].shape[2] == len(run.sessions[0]["data"]["class_names"])
    # So does one network of the run; a candidate that was not ranked again has none.
    for rank, note in ((1, False), (2, True)):
        options = ["--rank", str(rank), "--num-classes", "2"] if note else []
        assert (
            main(["export", str(run_dir), "--format", "python", "-o", str(tmp_path / "net.py"), *options])
            == 0
        )
        assert ("no trained weights" in capsys.readouterr().out) == note
        if not note:
            state = torch.load(tmp_path / "net.pt")
            assert all(torch.equal(state[name], value) for name, value in detector.state_dict().items())
    rows = standings(run, run.reranks[0])
    provenance = json.loads(exported[0].read_text())["provenance"]
    best = next(row for row in rows if row.candidate)
    assert provenance["reranked"]["score"] == best.score
    assert provenance["reward"]["value"] == best.candidate.reward

    # Complete: nothing is done again.
    before = (run_dir / LEDGER_NAME).read_bytes()
    assert main([*command, "search.num_trials=2"]) == 0
    assert (run_dir / LEDGER_NAME).read_bytes() == before
    # Another ranking trains what these have not; so much is estimated.
    for words, top, num_seeds, count in (
        ([], 1, 1, 0),
        ([], 2, 2, 2 * 4 - 3),
        (["proxy_task.num_steps=1"], 1, 1, 3),
    ):
        config = rerank_config(run.config, words, top=top, num_seeds=num_seeds)
        assert Finalists(finalist_plan(config), run.space).num_left(run) == count
        pace = Pace(step_s=1.0, other_s=0.0, source="stated")
        found = search_estimate(config, pace, num_train_images=12, run=run, reranks=True)
        assert found.parts[-1].count == count


@pytest.mark.slow
def test_a_job_restarts_with_the_command_it_had_after_another_ranking(serial, tmp_path: Path, capsys):
    run_dir, command = tmp_path / "runs" / "run", with_a_finalist(serial)
    assert main([*command, "search.num_trials=2"]) == 0
    run, _ = load_run(run_dir)
    # Extended: the best of all are ranked, what was trained is not trained again.
    assert main(["resume", str(run_dir), "search.num_trials=3"]) == 0
    grown, _ = load_run(run_dir)
    assert [t.trial for t in grown.trials] == [0, 1, 2]
    news = set(grown.reranks[-1].trials) - set(run.reranks[0].trials)
    assert len(grown.finalists) == 3 + len(news)
    capsys.readouterr()
    rerank = ["rerank", str(run_dir), "--top", "2", "--seeds", "1", "proxy_task.num_steps=1"]
    for _ in range(2):
        assert main(rerank) == 0
    out = capsys.readouterr().out
    assert "ranks again the best 2 and 2 baselines with 1 seed" in out
    assert "the best 2 ranked again, beside baselines: 1 seed, num_steps=1" in out
    again, _ = load_run(run_dir)
    assert len(again.finalists) == len(grown.finalists) + 4
    assert main([*command, "search.num_trials=2"]) == 0
    out = capsys.readouterr().out
    assert "search.num_trials: the run was extended from 2 to 3" in out
    assert "were ranked again with other settings since, which stay" in out
    assert "the best 2 ranked again, beside baselines: 1 seed, num_steps=1" in out
    assert len(load_run(run_dir)[0].reranks) == len(again.reranks)
    assert main(["show", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    best = final_ranking(again)[0]
    assert f"the best, trial {best.trial} ({best.arch_id})" in shown


def test_what_cannot_be_ranked_again(recorded_run: Path, tmp_path: Path, capsys):
    run = str(recorded_run)
    fails(["rerank", run, "--top", "0"], "--top: must be at least 1, got 0", capsys)
    fails(["rerank", run, "proxy_task.lr=0"], "proxy_task.lr: must be a finite number above 0", capsys)
    fails(["rerank", str(tmp_path / "none")], "is not a run: there is no such folder", capsys)
    assert main(["rerank", run, "--top", "2", "proxy_task.num_steps=7", "--cfg"]) == 0
    out = capsys.readouterr().out
    assert "finalists: 2" in out
    assert "finalist_task: {num_steps: 7}" in out
