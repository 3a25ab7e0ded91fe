"""What a search says of outputs that it hardly trains, and what its ledger holds of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_task import TINY_TASK

from spinesearch.data.data_settings import GeneratedDataSettings
from spinesearch.data.open import ProxyData, open_data
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import coverage_line
from spinesearch.search.coverage import coverage_record, coverage_warning, training_objects


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> ProxyData:
    settings = GeneratedDataSettings(
        num_images=16, num_val_images=0, held_out_share=0.4, cache_dir=str(cache_dir)
    )
    return open_data(settings, image_size=128)


def test_outputs_without_positives_are_named(data: ProxyData):
    """With anchors from three strides on, an image of three strides of P6 has no object of its size."""
    record = coverage_record(replace(TINY_TASK, num_scales=1, base_anchor=3.0), data)
    assert record["num_images"] == len(data.train_index)
    assert record["target_image_size"] == 640
    assert abs(sum(record["positives"]) - 1) < 1e-3
    assert abs(sum(record["target_positives"]) - 1) < 1e-3
    assert record["unseen"] == [
        level
        for level, a, b in zip(range(3, 8), record["positives"], record["target_positives"], strict=True)
        if a < 0.05 * b
    ]
    assert 6 in record["unseen"]


def test_the_warning_is_one_line_and_only_where_there_is_reason():
    record = {
        "num_images": 10,
        "target_image_size": 640,
        "positives": [0.9, 0.1, 0.0, 0.0, 0.0],
        "target_positives": [0.3, 0.3, 0.3, 0.1, 0.0],
        "unseen": [5, 6],
    }
    line = coverage_warning(record)
    assert line.startswith("P5, P6 have less than 5% of the positive anchors that a training at 640 px has")
    assert "\n" not in line
    assert coverage_warning({**record, "unseen": [5]}).startswith("P5 has less than")
    assert coverage_warning({**record, "unseen": []}) == ""
    run = Run(sessions=[{"config": {}, "coverage": record}])
    assert coverage_line(run) == (
        "positive anchors by output, by 10 images; in brackets at 640 px: P3 90.0% (30.0%), "
        "P4 10.0% (30.0%), P5 0.0% (30.0%), P6 0.0% (10.0%), P7 0.0% (0.0%)"
    )
    assert coverage_line(Run(sessions=[{"config": {}}])) == ""


def test_no_more_images_are_looked_at_than_said(data: ProxyData):
    assert len(list(training_objects(data, max_images=3))) == 3
    assert len(list(training_objects(data, max_images=1000))) == len(data.train_index)
