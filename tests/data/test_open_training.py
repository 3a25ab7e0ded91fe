"""The data of a training: all images of one split, validated on another that shares none."""

from dataclasses import replace

import numpy as np
import pytest
from picture_sets import picture, save_set, settings_for
from PIL import Image

from spinesearch.data.data_settings import GeneratedDataSettings
from spinesearch.data.errors import DataError
from spinesearch.data.open import open_training_data, open_val_data


def two_sets(tmp_path, *, val_pictures=range(10, 13), names="v"):
    save_set(tmp_path / "train", [(f"t{i}.png", picture(i)) for i in range(4)])
    save_set(tmp_path / "val", [(f"{names}{i - 10}.png", picture(i)) for i in val_pictures])
    return settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        val_images=str(tmp_path / "val" / "images"),
        val_annotations=str(tmp_path / "val" / "instances.json"),
    )


def test_all_training_images_are_trained_on_and_all_others_measured(tmp_path):
    data = open_training_data(two_sets(tmp_path), pack_size=256, image_size=32)
    assert data.train_index.tolist() == [0, 1, 2, 3]
    assert data.scored.held_out_index.tolist() == [0, 1, 2]
    assert data.pack.images.shape == (4, 96, 96, 3)  # no file is larger than 96
    assert data.scored.pack.images.shape == (3, 32, 32, 3)
    assert open_val_data(two_sets(tmp_path), image_size=32).held_out_index.tolist() == [0, 1, 2]


def test_ids_and_names_alone_make_no_image_the_same(tmp_path):
    """Both splits count from 1, as the exports of many tools do."""
    settings = two_sets(tmp_path, names="t")
    open_training_data(settings, pack_size=32, image_size=32)


def test_images_in_both_splits_are_named_and_refused_unless_allowed(tmp_path):
    settings = two_sets(tmp_path, names="t")
    for name in ("t0.png", "t2.png"):
        content = (tmp_path / "train" / "images" / name).read_bytes()
        (tmp_path / "val" / "images" / name).write_bytes(content)
    with pytest.raises(DataError, match=r"data.val_annotations: 2 of 3 images .*: t0.png \(id 1\), t2.png"):
        open_training_data(settings, pack_size=32, image_size=32)
    allowed = settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        val_images=settings.val_images,
        val_annotations=settings.val_annotations,
        allow_overlap=True,
    )
    warned: list[str] = []
    open_training_data(allowed, pack_size=32, image_size=32, warn=warned.append)
    assert "look like a training image" in warned[0]


def test_one_split_given_twice_is_refused(tmp_path):
    two_sets(tmp_path)
    twice = settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        val_annotations=str(tmp_path / "train" / "instances.json"),
    )
    with pytest.raises(DataError, match=r"4 of 4 images to validate on are trained on too: t0.png"):
        open_training_data(twice, pack_size=32, image_size=32)


def test_a_folder_of_images_is_named_by_its_own_setting(tmp_path):
    settings = two_sets(tmp_path)
    (tmp_path / "val" / "images").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"images: is not a folder; set data.val_images to the folder"):
        open_val_data(settings, image_size=32)
    (tmp_path / "val" / "images").mkdir()
    (tmp_path / "moved").rename(tmp_path / "val" / "images" / "deep")
    with pytest.raises(DataError, match=r"set data.val_images=.*val/images/deep$"):
        open_training_data(settings, pack_size=32, image_size=32)
    with pytest.raises(DataError, match=r"set data.train_images to the folder"):  # of both
        open_val_data(replace(settings, val_images=None), image_size=32)


def test_other_categories_and_no_split_are_refused_by_the_settings_name(tmp_path):
    settings = two_sets(tmp_path)
    save_set(
        tmp_path / "val", [("v.png", Image.new("RGB", (64, 64)))], categories=({"id": 1, "name": "other"},)
    )
    with pytest.raises(DataError, match=r"data.val_annotations: .* must have the categories"):
        open_training_data(settings, pack_size=32, image_size=32)
    with pytest.raises(DataError, match=r"data.val_annotations: must be given"):
        open_training_data(settings_for(tmp_path / "train", tmp_path / "cache"), pack_size=32, image_size=32)


def test_the_drawn_set_has_a_split_to_validate_on(tmp_path):
    settings = GeneratedDataSettings(num_images=3, num_val_images=2, cache_dir=str(tmp_path))
    data = open_training_data(settings, pack_size=64, image_size=64)
    assert (len(data.train_index), len(data.scored.held_out_index)) == (3, 2)
    assert not np.array_equal(data.pack.images[0], data.scored.pack.images[0])
