"""`spinesearch cluster check` on a real Ray."""

import functools
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import worker_tasks
from cli_checks import fails
from picture_sets import picture, save_set, settings_for
from tiny_task import TINY_TASK

from spinesearch.cli.main import main
from spinesearch.cli.proxy.cluster import nodes_table, verdict
from spinesearch.data.open import open_data
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.environment import code_version
from spinesearch.search.scoring.proxy_score import few_held_out
from spinesearch.search.workers import cluster_check
from spinesearch.search.workers.cluster_check import NodeReport, check_nodes, open_short_score
from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes

pytestmark = pytest.mark.ray

ONE_CPU = TrialResources(cpus=1)


def check(open_score, resources=ONE_CPU, patience_s: float = 60.0) -> NodeReport:
    reported: list[NodeReport] = []
    (report,) = check_nodes(
        cluster_nodes(), open_score, resources, seed=0, patience_s=patience_s, report=reported.append
    )
    assert reported == [report]
    return report


@pytest.mark.slow
def test_the_command_trains_on_every_node_and_says_that_the_cluster_is_ready(cluster, tiny, capsys):
    settings = [text for text in tiny if not text.startswith("runs_dir")]
    assert main(["cluster", "check", "--steps", "1", *settings]) == 0
    out = capsys.readouterr().out
    assert "on each of 1 nodes; a worker needs 1 CPU and 0 GPU" in out
    assert out.count(f"({ray.nodes()[0]['NodeManagerAddress']})") == 2  # as it is known, and in the table
    (row,) = [line.split() for line in out.splitlines() if " yes " in line]
    code = code_version()
    assert row[2:9] == ["2", "0", ray.__version__, *row[5:6], code.torch, code.version, "yes"]
    assert row[9] == "2"
    assert float(row[10]) > 0
    assert "ready: 1 of 1 nodes run 2 workers" in out


@pytest.mark.slow
def test_an_estimate_measures_a_typical_candidate_on_every_node(cluster, tiny, capsys):
    words = [*tiny, "search.ray_address=auto", "--steps", "1", "--json"]
    assert main(["estimate", "search", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pace"] == "measured on 1 node of auto: 1 steps of a typical candidate"
    assert set(found["wall_hours"]) == {"1", "2", "8", "100"}  # there is room for two workers
    assert found["worker_hours"] > 0
    assert found["gpu_hours"] is None


@pytest.mark.slow
def test_the_rate_is_that_of_a_warm_worker(cluster):
    report = check(worker_tasks.open_rated)
    assert report.images_per_s == 100.0
    assert (report.num_workers, report.sees_data, report.problem) == (2, True, "")
    assert report.facts is not None
    assert report.facts.code == code_version()


@pytest.mark.slow
def test_data_that_a_node_does_not_see_are_named(cluster, cache_dir, tmp_path: Path):
    """The driver has opened them; the node has neither its pack nor the file."""
    from spinesearch.data.drawn.generate import generate_dataset

    source = generate_dataset(cache_dir / "generated", num_images=16, num_val_images=0, seed=0)
    folder = tmp_path / "coco"
    shutil.copytree(source, folder)
    config = run_config(
        compose(
            [
                "data=coco",
                "data.held_out_share=0.4",
                f"data.train_images={folder / 'train'}",
                f"data.train_annotations={folder / 'annotations' / 'instances_train.json'}",
                f"data.cache_dir={tmp_path / 'cache'}",
            ]
        )
    )
    key = open_data(config.data, image_size=config.proxy_task.image_size).key
    elsewhere = replace(
        config.data, cache_dir=str(tmp_path / "other"), train_annotations=str(tmp_path / "gone.json")
    )
    report = check(functools.partial(open_short_score, config.proxy_task, elsewhere, key, 1))
    assert report.sees_data is False
    assert str(tmp_path / "gone.json") in report.problem
    other = check(functools.partial(open_short_score, config.proxy_task, config.data, "another key", 1))
    assert "is not the one the search uses (key another key)" in other.problem
    assert verdict([report])[1] == 1


@pytest.mark.faults
@pytest.mark.slow
def test_a_candidate_that_fails_or_kills_its_worker_is_a_problem_of_the_node(cluster):
    assert "no folder /nowhere on this node" in check(worker_tasks.open_nothing).problem
    report = check(worker_tasks.open_killed)
    assert report.sees_data is True
    assert report.images_per_s is None
    assert report.problem


@pytest.mark.faults
@pytest.mark.slow
def test_a_node_that_is_busy_is_named_after_a_while(cluster):
    blockers = [ray.remote(num_cpus=1)(cluster_check._Probe).remote() for _ in range(2)]
    ray.get([blocker.facts.remote() for blocker in blockers])
    started = time.monotonic()
    report = check(worker_tasks.open_rated, patience_s=1.0)
    assert time.monotonic() - started < 10
    assert report.problem.startswith("no place for a worker within 1 s")
    for blocker in blockers:
        ray.kill(blocker)


@pytest.mark.slow
@pytest.mark.faults
def test_a_training_that_has_no_end_is_named(cluster, monkeypatch):
    monkeypatch.setitem(cluster_check._PATIENCE_S, "rate", 1.0)
    report = check(functools.partial(worker_tasks.open_slow, 100.0))
    assert report.sees_data is True
    assert "its short training did not end within 1 s" in report.problem


@pytest.mark.slow
def test_a_node_too_small_for_a_worker_tells_its_versions_and_no_more(cluster):
    report = check(worker_tasks.open_rated, TrialResources(cpus=1, gpus=1))
    assert report.facts is not None
    assert (report.num_workers, report.sees_data, report.images_per_s, report.problem) == (0, None, None, "")
    line, code = verdict([report])
    assert code == 1
    assert "no node has room for a worker" in line


def test_a_node_with_other_code_is_a_problem_before_it_opens_anything(cluster, monkeypatch):
    other = replace(code_version(), sources="0123456789ab")
    monkeypatch.setattr(cluster_check, "code_version", lambda: other)  # here, not in the worker
    report = check(worker_tasks.open_nothing)
    assert "has other sources" in report.problem
    assert report.sees_data is None


def test_dead_nodes_are_not_asked(cluster):
    (node,) = cluster_nodes()
    dead = dict(node) | {"Alive": False, "NodeID": "0" * 56}
    reports = check_nodes(
        [dead], worker_tasks.open_rated, ONE_CPU, seed=0, patience_s=1.0, report=lambda node: None
    )
    assert reports == []


NODE = NodeReport(
    ip="10.0.0.1", cpus=8, gpus=1, gpu_kind="A100", num_workers=4, images_per_s=50.0, sees_data=True
)


@pytest.mark.parametrize(
    ("reports", "line", "code"),
    [
        ([NODE, NODE], "ready: 2 of 2 nodes run 8 workers, 400 images/s in all", 0),
        (
            [NODE, replace(NODE, num_workers=0, images_per_s=None)],
            "ready: 1 of 2 nodes run 4 workers, 200 ",
            0,
        ),
        (
            [NODE, replace(NODE, images_per_s=None, problem="x")],
            "not ready: 1 of 2 nodes cannot be used: 10.0.0.1",
            1,
        ),
        ([], "not ready: no node has room for a worker", 1),
    ],
)
def test_verdicts(reports: list[NodeReport], line: str, code: int):
    reported, returned = verdict(reports)
    assert reported.startswith(line)
    assert returned == code


def test_the_table_shows_gpus_with_their_kind():
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as capture:
        console.print(nodes_table([NODE, replace(NODE, gpus=0, ip="10.0.0.2", sees_data=False)]))
    first, second = [line.split() for line in capture.get().splitlines() if line.startswith("10.")]
    assert first == ["10.0.0.1", "8", "1", "A100", "?", "?", "?", "?", "yes", "4", "50"]
    assert second[:3] == ["10.0.0.2", "8", "0"]


def test_the_held_out_images_of_a_check_have_objects(cache_dir):
    config = run_config(
        compose(["data.num_images=64", "data.num_val_images=0", f"data.cache_dir={cache_dir}"])
    )
    data = open_data(config.data, image_size=config.proxy_task.image_size)
    for count in (1, 4, 1000):
        found = few_held_out(data, count)
        assert 1 <= len(found) <= count
        assert set(found.tolist()) <= set(data.held_out_index.tolist())
        assert all(np.any(data.boxes[i]) for i in found)


def test_images_of_their_own_to_score_on_are_checked_with(tmp_path: Path):
    save_set(tmp_path / "train", [(f"{i}.png", picture(i)) for i in range(4)])
    save_set(tmp_path / "score", [(f"{i}.png", picture(50 + i)) for i in range(6)])
    settings = settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        score_images=str(tmp_path / "score" / "images"),
        score_annotations=str(tmp_path / "score" / "instances.json"),
    )
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_check, "proxy_score", lambda task, data: seen.append(data))
        open_short_score(
            replace(TINY_TASK, batch_size=2), settings, open_data(settings, image_size=128).key, num_steps=1
        )
    (data,) = seen
    assert data.train_index.tolist() == [0, 1, 2, 3]
    assert data.scored.held_out_index.tolist() == [0, 1]
    assert len(data.scored.dataset.images) == 6


def test_bad_input(capsys):
    fails(["cluster", "chek"], "cluster chek: there is no such command; give cluster check", capsys)
    fails(["cluster", "check", "--steps", "0"], "--steps: must be at least 1, got 0", capsys)
    fails(["cluster", "check", "--timeout", "0"], "--timeout: must be positive, got 0", capsys)
    fails(["cluster", "check", "search.ray_adress=auto"], "did you mean search.ray_address", capsys)
