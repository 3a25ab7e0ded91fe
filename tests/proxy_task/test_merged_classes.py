"""`proxy_task.merge_classes`: a training that knows objects but no classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_task import TINY_TASK

from spinesearch.data.data_settings import CocoDataSettings
from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.data.open import ProxyData, open_data
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49

MERGED = replace(TINY_TASK, merge_classes=True)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A drawn data set of five classes and its annotation file."""
    root = generate_dataset(
        tmp_path_factory.mktemp("drawn"), num_images=12, num_val_images=0, seed=0, object_sizes="wide"
    )
    return root / "train", root / "annotations" / "instances_train.json"


def opened(images: Path, annotations: Path, cache_dir: Path, **scored_on: str) -> ProxyData:
    settings = CocoDataSettings(
        train_images=str(images),
        train_annotations=str(annotations),
        cache_dir=str(cache_dir),
        held_out_share=0.3,
        **scored_on,
    )
    return open_data(settings, image_size=128)


def test_it_scores_as_if_the_file_had_one_class(annotated: tuple[Path, Path], tmp_path: Path) -> None:
    images, annotations = annotated
    document = json.loads(annotations.read_text())
    for row in document["annotations"]:
        row["category_id"] = 1
    one_class = tmp_path / "one_class.json"
    one_class.write_text(json.dumps(document | {"categories": [{"id": 1, "name": "thing"}]}))
    merged = ProxyTask(MERGED, opened(images, annotations, tmp_path)).score(SPINENET_49, seed=0)
    assert merged == ProxyTask(TINY_TASK, opened(images, one_class, tmp_path)).score(SPINENET_49, seed=0)
    five = ProxyTask(TINY_TASK, opened(images, annotations, tmp_path)).score(SPINENET_49, seed=0)
    assert merged.num_parameters < five.num_parameters


def test_merged_data_are_the_same_but_for_the_classes(annotated: tuple[Path, Path], tmp_path: Path) -> None:
    images, annotations = annotated
    scored_on = {"score_images": str(images), "score_annotations": str(annotations)}
    for data in (
        opened(images, annotations, tmp_path),
        opened(images, annotations, tmp_path, **scored_on),
    ):
        merged = data.with_merged_classes()
        assert (merged.class_names, merged.scored.class_names) == (("object",), ("object",))
        assert merged.key == data.key
        for old, new in ((data, merged), (data.scored, merged.scored)):
            assert set(np.unique(old.labels)) == {-1, 0, 1, 2, 3, 4}
            np.testing.assert_array_equal(new.labels, np.where(old.labels < 0, -1, 0))
            np.testing.assert_array_equal(new.boxes, old.boxes)
            np.testing.assert_array_equal(new.held_out_index, old.held_out_index)
            assert [len(rows) for rows in new.dataset.labels] == [len(rows) for rows in old.dataset.labels]
            assert not np.any(new.dataset.labels.flat)
