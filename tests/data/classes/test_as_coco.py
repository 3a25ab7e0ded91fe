"""Class folders and iNaturalist's JSON as data sets; and what is refused in a line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from class_folders import write_class_folders
from PIL import Image

from spinesearch.data.data_settings import ClassDataSettings
from spinesearch.data.errors import DataError
from spinesearch.data.open import open_data, open_training_data, open_val_data
from spinesearch.data.reopen import reopen_data


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_class_folders(tmp_path / "train", 4)
    write_class_folders(tmp_path / "val", 2, seed=1)
    return tmp_path


def settings(folders: Path, **changes: object) -> ClassDataSettings:
    given = {
        "train_images": str(folders / "train"),
        "val_images": str(folders / "val"),
        "cache_dir": str(folders / "cache"),
    }
    return ClassDataSettings(**{**given, **changes})


def refused(folders: Path, rule: str, **changes: object) -> None:
    with pytest.raises(DataError, match=rule) as caught:
        open_training_data(settings(folders, **changes), pack_size=32, image_size=32)
    assert "\n" not in str(caught.value)
    assert not list((folders / "cache").rglob("*.*")), "something was written"


def test_class_folders_are_images_of_one_class(folders: Path):
    data = open_training_data(settings(folders), pack_size=48, image_size=32)
    assert data.class_names == ("green", "red")
    assert data.labels[:, 0].tolist() == [0] * 4 + [1] * 4
    assert data.labels.shape == (8, 1)
    assert [image.file_name for image in data.dataset.images][:5] == [
        *(f"green/{n:02d}.png" for n in range(4)),
        "red/00.png",
    ]
    with Image.open(folders / "train/green/00.png") as image:
        assert (data.dataset.images[0].width, data.dataset.images[0].height) == image.size
    assert np.allclose(data.boxes[:, 0, 2:], data.pack.sizes, atol=0.5)  # the whole image
    assert data.scored.labels[:, 0].tolist() == [0, 0, 1, 1]
    assert data.pack.images.shape[1] == 48
    assert data.scored.pack.images.shape[1] == 32


def test_a_search_holds_images_out_and_a_worker_opens_the_same(folders: Path):
    data = open_data(settings(folders, held_out_share=0.4), image_size=32)
    assert len(data.train_index) + len(data.held_out_index) == 8
    shutil.rmtree(folders / "train")  # a worker reads the pack alone
    again = reopen_data(settings(folders, held_out_share=0.4), image_size=32, key=data.key)
    assert again.labels.tolist() == data.labels.tolist()


def test_a_class_added_later_is_seen(folders: Path):
    first = open_data(settings(folders), image_size=32)
    shutil.copytree(folders / "val/red", folders / "train/blue")
    (folders / "train/.ipynb_checkpoints").mkdir()
    second = open_data(settings(folders), image_size=32)
    assert second.class_names == ("blue", "green", "red")
    assert second.key != first.key
    # Validation images are numbered as the training images, although one class has none.
    data = open_training_data(settings(folders, allow_overlap=True), pack_size=32, image_size=32)
    assert data.scored.class_names == data.class_names
    assert data.scored.labels[:, 0].tolist() == [1, 1, 2, 2]


def test_what_is_wrong_with_folders_is_said_in_a_line(folders: Path):
    (folders / "train/yellow").mkdir()
    (folders / "train/yellow/notes.txt").write_text("")
    refused(
        folders,
        r"data.train_images: the class folder .*train/yellow holds no image \(\.jpg.*; put its images",
    )
    shutil.rmtree(folders / "train/yellow")
    shutil.copy(folders / "train/red/01.png", folders / "train/green/copy.png")
    refused(
        folders,
        r"data.train_images: .*green/copy.png and .*red/01.png are the same image in two class folders; .* "
        "remove it",
    )
    (folders / "train/green/copy.png").unlink()
    shutil.copytree(folders / "val/red", folders / "val/blue")
    refused(folders, r"data.val_images: .*val has the class folder 'blue', which data.train_images has not")
    refused(folders, r"data.train_images: .*none: cannot be read", train_images=str(folders / "none"))
    refused(folders, r"data.train_images: .*red holds no folder", train_images=str(folders / "train/red"))
    refused(folders, r"data.val_images: must be given", val_images=None)
    with pytest.raises(DataError, match=r"data.skip_broken: must be true or false, got 1"):
        settings(folders, skip_broken=1)


def test_an_image_in_both_splits_is_refused_by_the_setting_that_was_given(folders: Path):
    shutil.copy(folders / "train/green/00.png", folders / "val/green/00.png")
    with pytest.raises(
        DataError, match=r"^data.val_images: 1 of 4 images .*green/00.png \(id 1\); .*allow_ov"
    ):
        open_training_data(settings(folders), pack_size=32, image_size=32)
    files = {f"{split}_annotations": inaturalist(folders, split) for split in ("train", "val")}
    with pytest.raises(DataError, match=r"^data.val_annotations: 1 of 4 images"):
        open_training_data(settings(folders, **files), pack_size=32, image_size=32)


def test_a_link_to_nothing_is_a_broken_image_and_a_folder_is_none(folders: Path):
    (folders / "train/red/sub.png").mkdir()
    (folders / "train/red/gone.png").symlink_to(folders / "none.png")
    with pytest.raises(DataError, match=r"red/gone.png.* is missing .*set data.skip_broken=true"):
        open_training_data(settings(folders), pack_size=32, image_size=32)
    warned: list[str] = []
    data = open_training_data(
        settings(folders, skip_broken=True), pack_size=32, image_size=32, warn=warned.append
    )
    assert data.labels[:, 0].tolist() == [0] * 4 + [1] * 4
    assert "1 image is left out (data.skip_broken)" in warned[0]


def inaturalist(folders: Path, split: str, **changes: object) -> str:
    """A file of its form on the images of the class folders, without sizes."""
    names = sorted(str(path.relative_to(folders / split)) for path in (folders / split).glob("*/*.png"))
    document = {
        "info": {},
        "images": [{"id": 10 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 10 + i, "category_id": 5 if name.startswith("red") else 3}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": 3, "name": "Viridis", "supercategory": "x"}, {"id": 5, "name": "Ruber"}],
    }
    path = folders / f"{split}.json"
    path.write_text(json.dumps({**document, **changes}))
    return str(path)


def test_inaturalist_is_read(folders: Path):
    files = {f"{split}_annotations": inaturalist(folders, split) for split in ("train", "val")}
    data = open_training_data(settings(folders, **files), pack_size=32, image_size=32)
    assert data.class_names == ("Viridis", "Ruber")
    assert data.labels[:, 0].tolist() == [0] * 4 + [1] * 4
    alone = open_val_data(settings(folders, **files), image_size=32)
    assert alone.labels[:, 0].tolist() == [0, 0, 1, 1]


def test_what_is_wrong_with_a_file_is_said_in_a_line(folders: Path):
    val = inaturalist(folders, "val")
    train = inaturalist(folders, "train")
    refused(folders, "data.val_annotations: must be given where", train_annotations=train)
    document = json.loads(Path(train).read_text())
    twice = [*document["annotations"], {"id": 99, "image_id": 10, "category_id": 5}]
    inaturalist(folders, "train", annotations=twice)
    files = {"train_annotations": train, "val_annotations": val}
    refused(folders, r"train.json: annotations\[8\].category_id: image 10 has two classes, 3 and 5;", **files)
    inaturalist(folders, "train", annotations=document["annotations"][1:])
    refused(folders, r"train.json: images\[0\]: no annotation names its class \(1 of 8", **files)
    files["train_annotations"] = str(folders / "none.json")
    refused(folders, r"data.train_annotations: .*none.json: cannot be read", **files)
