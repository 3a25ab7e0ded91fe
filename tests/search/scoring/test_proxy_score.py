"""What a worker of a search opens: the pack that the search has made, and nothing else."""

import shutil
from dataclasses import replace

import pytest

from spinesearch.data.errors import DataError
from spinesearch.data.open import open_data
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.scoring.proxy_score import open_proxy_score, proxy_score
from spinesearch.search.scoring.scorer import SteppedScore
from spinesearch.space import SPINENET_49


def test_a_worker_scores_without_annotations_and_images(coco):
    images, annotations, command = coco
    config = run_config(compose(command[1:]))
    data = open_data(config.data, image_size=config.proxy_task.image_size)
    expected = proxy_score(config.proxy_task, data)(SPINENET_49, 0)
    shutil.rmtree(images)
    annotations.write_text("no longer COCO")
    score = open_proxy_score(config.proxy_task, config.data, data.key)
    timed = {"seconds", "train_seconds", "images_per_s"}
    found = score(SPINENET_49, 0)
    assert {k: v for k, v in found.items() if k not in timed} == {
        k: v for k, v in expected.items() if k not in timed
    }
    with pytest.raises(DataError, match="not JSON"):  # of another size there is no pack
        open_proxy_score(replace(config.proxy_task, image_size=256), config.data, data.key)
    with pytest.raises(DataError, match="not JSON"):
        open_proxy_score(config.proxy_task, config.data, "another key")


def test_its_trainings_report_their_steps(coco):
    """So that a worker can measure how fast it trains."""
    _, _, command = coco
    config = run_config(compose(command[1:]))
    score = proxy_score(config.proxy_task, open_data(config.data, image_size=config.proxy_task.image_size))
    assert isinstance(score, SteppedScore)
    steps: list[int] = []
    score.on_step = steps.append
    score(SPINENET_49, 0)
    assert steps == list(range(config.proxy_task.num_steps))
