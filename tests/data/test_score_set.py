"""Images of their own to score on: `data.score_images` and `data.score_annotations`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_sets import Said, open_and_note, picture, save_set, settings_for

from spinesearch.data.errors import DataError
from spinesearch.data.open import CocoDataSettings
from spinesearch.data.reopen import reopen_data

CATEGORIES = ({"id": 3, "name": "cat"}, {"id": 7, "name": "dog"})


@pytest.fixture
def sets(tmp_path: Path) -> CocoDataSettings:
    save_set(tmp_path / "train", [(f"{i}.png", picture(i)) for i in range(5)], categories=CATEGORIES)
    save_set(tmp_path / "score", [(f"{i}.png", picture(50 + i)) for i in range(3)], categories=CATEGORIES)
    return settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        score_images=str(tmp_path / "score" / "images"),
        score_annotations=str(tmp_path / "score" / "instances.json"),
    )


def test_all_are_trained_on_and_all_scored_on(sets: CocoDataSettings) -> None:
    said: Said = []
    data = open_and_note(sets, said)
    assert said == []
    assert data.train_index.tolist() == [0, 1, 2, 3, 4]
    assert data.held_out_index.tolist() == []
    assert data.scored.held_out_index.tolist() == [0, 1, 2]
    assert data.scored.train_index.tolist() == []
    assert data.scored.dataset.images_dir == Path(str(sets.score_images))
    assert len(data.scored.boxes) == 3
    assert data.split_by == "score_annotations"
    few = data.scored_on(np.array([1]))
    assert few.scored.held_out_index.tolist() == [1]
    assert few.train_index.tolist() == [0, 1, 2, 3, 4]


def test_the_key_is_that_of_both(sets: CocoDataSettings, tmp_path: Path) -> None:
    key = open_and_note(sets).key
    assert open_and_note(replace(sets, held_out_share=0.1, group_by="id")).key == key
    alone = open_and_note(replace(sets, score_images=None, score_annotations=None))
    assert alone.key != key
    path = Path(str(sets.score_annotations))
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][0] += 1
    path.write_text(json.dumps(document))
    assert open_and_note(sets).key != key


def test_a_worker_needs_the_packs_alone(sets: CocoDataSettings, tmp_path: Path) -> None:
    data = open_and_note(sets)
    for name in ("train", "score"):
        shutil.rmtree(tmp_path / name)
    again = reopen_data(sets, image_size=32, key=data.key)
    assert list(again.dataset.images) == list(data.dataset.images)
    assert list(again.scored.dataset.images) == list(data.scored.dataset.images)
    assert again.scored.held_out_index.tolist() == [0, 1, 2]


def test_a_worker_without_the_packs_opens_both(sets: CocoDataSettings, tmp_path: Path) -> None:
    key = open_and_note(sets).key
    elsewhere = replace(sets, cache_dir=str(tmp_path / "elsewhere"))
    assert reopen_data(elsewhere, image_size=32, key=key).key == key
    shutil.rmtree(tmp_path / "score")
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"score/instances\.json: cannot be read"):
        reopen_data(elsewhere, image_size=32, key=key)


def test_both_files_may_share_a_folder(sets: CocoDataSettings, tmp_path: Path) -> None:
    for path in (tmp_path / "score" / "images").iterdir():
        shutil.copy(path, tmp_path / "train" / "images" / f"s{path.name}")
    path = Path(str(sets.score_annotations))
    document = json.loads(path.read_text())
    for row in document["images"]:
        row["file_name"] = f"s{row['file_name']}"
    path.write_text(json.dumps(document))
    data = open_and_note(replace(sets, score_images=None))
    assert [image.file_name for image in data.scored.dataset.images] == ["s0.png", "s1.png", "s2.png"]


@pytest.mark.parametrize(
    ("categories", "differing"),
    [
        (CATEGORIES[:1], "7 ('dog' to train on, none to score on)"),
        (
            ({"id": 3, "name": "dog"}, *CATEGORIES[1:], {"id": 9, "name": "cow"}),
            "3 ('cat' to train on, 'dog' to score on), 9 (none to train on, 'cow' to score on)",
        ),
        (
            tuple({"id": i, "name": "x"} for i in range(10, 20)),
            "11 (none to train on, 'x' to score on), 12 (none to train on, 'x' to score on) and 7 more",
        ),
    ],
)
def test_other_categories_are_refused_before_training_images_are_packed(
    sets: CocoDataSettings, tmp_path: Path, categories: Any, differing: str
) -> None:
    files = [(f"{i}.png", picture(50 + i)) for i in range(3)]
    save_set(tmp_path / "score", files, categories=categories)
    with pytest.raises(DataError, match=r"^data\.score_annotations: .* these ids differ: ") as error:
        open_and_note(sets)
    assert differing in str(error.value)
    assert len(list((tmp_path / "cache" / "packs").glob("[!.]*"))) == 1
    open_and_note(replace(sets, score_images=None, score_annotations=None))
    with pytest.raises(DataError, match="these ids differ"):  # with all packs there
        open_and_note(sets)


def test_pictures_in_both_sets_are_warned_of(sets: CocoDataSettings, tmp_path: Path) -> None:
    train = tmp_path / "train" / "images"
    files = [("new.png", picture(90)), ("shot_jpg.rf.2.png", picture(91))]
    save_set(tmp_path / "score", files, categories=CATEGORIES)
    save_set(
        tmp_path / "train",
        [*((f"{i}.png", picture(i)) for i in range(5)), ("shot_jpg.rf.1.png", picture(8))],
        categories=CATEGORIES,
    )
    shutil.copy(train / "3.png", tmp_path / "score" / "images" / "new.png")
    said: Said = []
    open_and_note(sets, said)
    where = f"warned: {sets.score_annotations}: "
    assert said == [
        f"{where}1 image is to be scored on of a picture or group that is trained on too "
        "(shot_jpg.rf.2.png, as shot_jpg.rf.1.png is), so scores come out too high; leave them out of "
        "one of the two files",
        f"{where}1 of 2 images to score on looks like a training image (new.png like 3.png; 1 by the "
        "very same file), so scores may come out too high; leave them out of one of the two files",
    ]


def test_a_set_that_loses_its_last_box_to_skipping_is_refused(sets: CocoDataSettings, tmp_path: Path) -> None:
    for name in ("train", "score"):
        path = tmp_path / name / "instances.json"
        document = json.loads(path.read_text())
        document["annotations"] = document["annotations"][:1]
        path.write_text(json.dumps(document))
        broken = tmp_path / name / "images" / "0.png"
        whole = broken.read_bytes()
        broken.write_bytes(b"")
        with pytest.raises(DataError, match=rf"{path}: no image that can be used has a box to {name} on"):
            open_and_note(replace(sets, skip_broken=True))
        broken.write_bytes(whole)
