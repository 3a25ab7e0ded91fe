"""What a session records of itself."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from rich.console import Console

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.environment import machine
from spinesearch.search.search_request import SearchRequest
from spinesearch.search.session import open_all_data, run_event

DATA = SimpleNamespace(
    key="k",
    train_index=(1, 2),
    scored=SimpleNamespace(held_out_index=(3,)),
    split_by="picture",
    class_names=("a",),
    num_classes=1,
)


def test_the_run_event_of_a_search_names_machine_and_versions():
    event = run_event(run_config(compose([])), DATA)
    assert event["machine"] == machine()
    assert event["torch"] == torch.__version__
    assert event["data"] == {
        "key": "k",
        "num_train_images": 2,
        "num_held_out_images": 1,
        "split_by": "picture",
        "class_names": ["a"],
        "generator": 2,
    }


def test_a_side_that_learns_masks_has_data_with_masks(tmp_path):
    """As where the finalists are Mask R-CNNs, or one side of a correlation is."""
    words = [f"data.cache_dir={tmp_path}", "data.num_images=4", "data.num_val_images=0"]
    boxes = run_config(compose(words))
    masks = replace(boxes, proxy_task=replace(boxes.proxy_task, detector="mask_rcnn"))
    data = open_all_data({"a": boxes, "b": masks, "c": boxes}, Console(quiet=True))
    assert data["a"].masks is None
    assert data["b"].masks is not None
    assert data["c"] is data["a"]


def test_a_search_whose_last_candidates_failed_is_complete_when_they_failed_twice():
    words = ["search.num_trials=3", "search.generation_size=4", "search.finalists=0"]
    request = SearchRequest(config=run_config(compose(words)))
    trials = [Trial(trial=i, tokens=(0,), arch_id=f"{i}", status="failed", reward=0.0) for i in range(3)]
    run = Run(sessions=[{"event": "run"}], trials=trials)
    assert not request.is_complete(run)
    run.apply({"event": "reopen", "trials": [0, 1, 2], "reason": "", "time": 0.0})
    assert not request.is_complete(run)
    for trial in range(3):
        result = {"status": "failed", "reward": 0.0, "reason": "again", "time": 1.0}
        run.apply({"event": "result", "trial": trial, **result})
    assert request.is_complete(run)
