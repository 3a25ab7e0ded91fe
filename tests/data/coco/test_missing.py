"""Image files that are not where the annotations say: which of the usual reasons it is, and what to set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spinesearch.data.coco.missing import explanation
from spinesearch.data.coco.read import load_coco
from spinesearch.data.errors import DataError

NAMES = ["a.jpg", "b c.jpg", "d.jpg"]


def touch(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def put(subfolder: str = "images", rename: Callable[[str], str] = str) -> Callable[[Path], object]:
    return lambda root: touch(root / subfolder, [rename(name) for name in NAMES])


# Where the files are; the names in the annotations; what is reported, with ROOT/images as data.train_images.
CASES: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "doubled folder": (
        put(),
        [f"images/{name}" for name in NAMES],
        "the names are relative to ROOT; set data.train_images=ROOT",
    ),
    "two levels up": (
        put(),
        [f"ROOTNAME/images/{name}" for name in NAMES],
        "set data.train_images=PARENT",
    ),
    "one level down": (
        put("images/train"),
        NAMES,
        "the names are relative to ROOT/images/train; set data.train_images=ROOT/images/train",
    ),
    "no such folder": (
        put(),
        [f"data/obj/{name}" for name in NAMES],
        "the names begin with a folder that is missing (data/obj); remove it from file_name in the",
    ),
    "path of another machine": (
        put(),
        [f"C:\\data\\{name}" for name in NAMES],
        "the names begin with a folder that is missing (C:/data); remove it",
    ),
    "percent-encoded": (
        put(rename=lambda name: name.replace("a", "ä:")),
        ["%C3%A4%3A.jpg", "b%20c.jpg"],
        "the names are percent-encoded and the files are not; correct file_name in the annotations",
    ),
    "files percent-encoded": (
        put(rename=lambda name: name.replace(" ", "%20")),
        ["b c.jpg"],
        "the files are percent-encoded and the names are not; correct",
    ),
    "suffix": (
        put(rename=lambda name: name.replace("jpg", "JPG")),
        NAMES,
        "the names end in '.jpg' and the files in '.JPG'; correct file_name in the annotations",
    ),
    "other suffix": (
        put(rename=lambda name: name.replace("jpg", "png")),
        NAMES,
        "the names end in '.jpg' and the files in '.png'; correct",
    ),
    "case": (
        put(),
        ["A.jpg", "B C.JPG", "D.jpg"],
        "the names differ in case from the files; correct",
    ),
    "unicode": (
        put(rename=lambda name: name.replace("a", "a\u0308")),
        ["\u00e4.jpg"],
        "the names hold accents in another Unicode form than the files (NFD); correct",
    ),
    "two at once": (
        put(rename=lambda name: name.replace("jpg", "JPG")),
        [f"images/{name}" for name in NAMES],
        "the names end in '.jpg' and the files in '.JPG' and the names are relative to ROOT; "
        "correct file_name in the annotations and set data.train_images=ROOT",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_all_missing_files_have_in_common_is_said(tmp_path, name: str) -> None:
    make, names, expected = CASES[name]
    (tmp_path / "images").mkdir(exist_ok=True)
    make(tmp_path)
    names = [text.replace("ROOTNAME", tmp_path.name) for text in names]
    expected = expected.replace("ROOT", str(tmp_path)).replace("PARENT", str(tmp_path.parent))
    found = explanation(tmp_path / "images", names)
    assert found is not None
    assert expected in found
    assert explanation(tmp_path / "images", [*names, "another.jpg"]) is None


def test_names_without_any_file_are_left_alone(tmp_path) -> None:
    for names in (["a\0b.png"], ["\ud800.png"], ["x" * 5000], ["a.jpg"], ["noend"], ["x/"], [""]):
        assert explanation(tmp_path, names) is None


def test_the_explanation_stands_in_the_error(tiny_coco) -> None:
    for row in tiny_coco.document["images"]:
        row["file_name"] = f"images/{row['file_name']}"
    root = tiny_coco.images_dir.parent
    expected = rf"'images/3.png' is missing \(4 of 4 images .* are\); .*; set data.train_images={root}$"
    with pytest.raises(DataError, match=expected):
        tiny_coco.load()
    assert len(load_coco(root, tiny_coco.path).images) == 4


def test_a_folder_without_the_files_that_are_there_is_not_given(tiny_coco) -> None:
    images = tiny_coco.images_dir
    rows = tiny_coco.document["images"]
    (images / "more").mkdir()
    (images / rows[1]["file_name"]).rename(images / "more" / rows[1]["file_name"])
    with pytest.raises(DataError, match=r"is missing \(1 of 4 images .* are\); fetch the files"):
        tiny_coco.load()


def test_a_reason_other_than_absence_is_said(tiny_coco) -> None:
    tiny_coco.document["images"][1]["file_name"] = "x" * 300 + ".png"
    with pytest.raises(DataError, match=r"is missing \(1 of 4 images of .* are: File name too long\); fetch"):
        tiny_coco.load()


def test_an_archive_in_place_of_the_images_folder_is_called_by_name(tiny_coco, tmp_path) -> None:
    tiny_coco.save()
    archive = tmp_path / "images.zip"
    archive.write_bytes(b"PK\x03\x04")
    with pytest.raises(
        DataError, match=r"^images folder .*images\.zip: is a ZIP archive; unpack it; set data"
    ):
        load_coco(archive, tiny_coco.path)


def test_an_images_folder_that_cannot_be_looked_at_is_named(tiny_coco, monkeypatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    tiny_coco.save()
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"^images folder .*: cannot be read \(Permission denied\); set data"):
        load_coco(tiny_coco.images_dir, tiny_coco.path)
