"""Opening data whose images belong together, and data with images of their own to score on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_sets import Said, open_and_note, picture, roboflow_files, save_set, settings_for
from PIL import ImageOps

from spinesearch.data.errors import DataError
from spinesearch.data.open import CocoDataSettings, ProxyData
from spinesearch.data.pack import pack_build
from spinesearch.data.reopen import reopen_data
from spinesearch.data.split.held_out import held_out_mask


def pictures_of(data: ProxyData, index: np.ndarray[Any, Any]) -> set[str]:
    return {data.dataset.images[i].file_name.partition("_jpg")[0] for i in index}


def without_what_releases_before_lacked(cache_dir: Path) -> None:
    """Makes the packs of a cache those of a release that knew neither groups nor thumbnails."""
    for folder in (cache_dir / "packs").glob("[!.]*/"):
        for path in [*folder.glob("groups-*"), folder / "thumbnails.npy"]:
            path.unlink()
        facts = json.loads((folder / "meta.json").read_text())
        del facts["files"]["thumbnails.npy"]
        (folder / "meta.json").write_text(json.dumps(facts))


def test_copies_of_a_picture_stay_on_one_side(tmp_path: Path) -> None:
    save_set(tmp_path, roboflow_files(12))
    said: Said = []
    data = open_and_note(settings_for(tmp_path, tmp_path / "cache"), said)
    assert not pictures_of(data, data.train_index) & pictures_of(data, data.held_out_index)
    assert len(data.train_index) + len(data.held_out_index) == 36
    assert data.split_by == "picture"
    assert said == [
        f"reported: {tmp_path / 'instances.json'}: 36 images of 12 pictures (by extra.name, else by the file "
        "name before .rf.): copies of one picture stay on one side of the split"
    ]
    by_id = open_and_note(settings_for(tmp_path, tmp_path / "cache", group_by="id"))
    assert pictures_of(by_id, by_id.train_index) & pictures_of(by_id, by_id.held_out_index)
    assert by_id.key != data.key
    assert by_id.split_by == "id"


def test_without_groups_split_and_key_are_those_of_releases_before(tiny_coco, tmp_path: Path) -> None:
    """The key, too, is made as before there were groups."""
    tiny_coco.save()
    said: Said = []
    keys = set()
    for group_by in ("picture", "id", "re:^."):
        data = open_and_note(
            CocoDataSettings(
                train_images=str(tiny_coco.images_dir),
                train_annotations=str(tiny_coco.path),
                held_out_share=0.5,
                group_by=group_by,
                cache_dir=str(tmp_path / "cache"),
            ),
            said,
        )
        mask = held_out_mask(data.dataset.images.ids.tolist(), 0.5)
        assert data.held_out_index.tolist() == np.flatnonzero(mask).tolist()
        keys.add(data.key)
    facts = (3, tiny_coco.content_key(), 32, "raw", 0.5)
    assert keys == {hashlib.blake2b(repr(facts).encode()).hexdigest()[:16]}
    assert said == [
        f"warned: data.group_by: re:^. puts no two images of {tiny_coco.path} into one group, so the split "
        "is by id"
    ]


RULES: dict[str, Callable[[Path], str]] = {
    "pictures": lambda folder: "picture",
    "a pattern": lambda folder: r"re:^(shot\d+)_",
    "a field": lambda folder: "field:meta.patient",
    "a file": lambda folder: f"csv:{folder / 'groups.csv'}",
}


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """Twelve pictures with three copies each, by every rule there is."""
    files = roboflow_files(12)
    records = [{"meta": {"patient": i // 3}} for i in range(len(files))]
    folder = tmp_path / "grouped"
    save_set(folder, files, records=records)
    rows = [f"{name},{i // 3}" for i, (name, _) in enumerate(files)]
    (folder / "groups.csv").write_text("\n".join(["file_name,group", *rows]))
    return folder


@pytest.mark.parametrize("rule", RULES)
def test_a_worker_needs_the_pack_alone(grouped: Path, tmp_path: Path, rule: str) -> None:
    settings = settings_for(grouped, tmp_path / "cache", group_by=RULES[rule](grouped))
    data = open_and_note(settings)
    assert not pictures_of(data, data.train_index) & pictures_of(data, data.held_out_index)
    assert data.split_by == settings.group_by
    shutil.rmtree(grouped)
    again = reopen_data(settings, image_size=32, key=data.key)
    np.testing.assert_array_equal(again.train_index, data.train_index)
    np.testing.assert_array_equal(again.held_out_index, data.held_out_index)


@pytest.mark.parametrize("rule", RULES)
def test_a_pack_of_a_release_before_is_used_as_it_is(
    grouped: Path, tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(grouped, tmp_path / "cache", group_by=RULES[rule](grouped))
    key = open_and_note(settings).key
    without_what_releases_before_lacked(tmp_path / "cache")

    def refuse(*arguments: object) -> None:
        raise AssertionError("the pack is built again")

    monkeypatch.setattr(pack_build, "read_image", refuse)
    assert open_and_note(settings).key == key
    assert open_and_note(replace(settings, group_by="id")).key != key
    (pack,) = (tmp_path / "cache" / "packs").glob("[!.]*/")
    assert (pack / "thumbnails.npy").is_file()
    shutil.rmtree(grouped / "images")
    assert reopen_data(settings, image_size=32, key=key).key == key


def test_a_pack_that_cannot_be_added_to_is_used_as_well(
    grouped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(grouped, tmp_path / "cache")
    key = open_and_note(settings).key
    without_what_releases_before_lacked(tmp_path / "cache")

    def refuse(**arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert open_and_note(settings).key == key
    assert reopen_data(settings, image_size=32, key=key).key == key


def test_groups_of_a_pack_without_its_broken_images(grouped: Path, tmp_path: Path) -> None:
    for path in sorted((grouped / "images").iterdir())[::5]:
        path.write_bytes(b"")
    settings = settings_for(grouped, tmp_path / "cache", skip_broken=True)
    data = open_and_note(settings)
    assert len(data.dataset.images) == 28
    assert not pictures_of(data, data.train_index) & pictures_of(data, data.held_out_index)
    without_what_releases_before_lacked(tmp_path / "cache")
    assert open_and_note(settings).key == data.key


def test_a_file_of_groups_that_changes_makes_other_data(grouped: Path, tmp_path: Path) -> None:
    settings = settings_for(grouped, tmp_path / "cache", group_by=f"csv:{grouped / 'groups.csv'}")
    said: Said = []
    first = open_and_note(settings, said)
    (line,) = said
    assert line.endswith(f"36 of 36 images are in 12 groups of several (data.group_by={settings.group_by}), "
        "each of which stays on one side of the split"
    )  # fmt: skip
    rows = (grouped / "groups.csv").read_text().splitlines()
    (grouped / "groups.csv").write_text("\n".join(rows[:10]))
    second = open_and_note(settings, said)
    assert second.key != first.key
    assert "9 of 36 images are in 3 groups of several" in said[1]


def test_a_rule_that_cannot_be_used_is_refused_before_packing(grouped: Path, tmp_path: Path) -> None:
    for group_by in ("field:no.such", "re:^nothing", f"csv:{grouped}/none.csv"):
        with pytest.raises(DataError, match=r"^data\.group_by: "):
            open_and_note(settings_for(grouped, tmp_path / "cache", group_by=group_by))
    assert not list((tmp_path / "cache" / "packs").glob("[!.]*"))


def test_one_group_of_all_images_cannot_be_split(grouped: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(0 of 36 images in 1 group are in it\); .* or data\.group_by, or"):
        open_and_note(settings_for(grouped, tmp_path / "cache", group_by="re:^shot"))


def test_copies_across_the_split_are_counted_and_named(tmp_path: Path) -> None:
    files = [(f"{i}.png", picture(i)) for i in range(24)]
    mask = held_out_mask(range(1, 25), 0.3)
    held_out, trained = (np.flatnonzero(side).tolist() for side in (mask, ~mask))
    for i, copy in zip(held_out[:2], trained, strict=False):
        files[copy] = (f"mirrored {i}.png", ImageOps.mirror(files[i][1]))
    files[trained[2]] = (f"same {held_out[2]}.png", files[held_out[2]][1])
    files[trained[3]] = (f"on the same side {trained[4]}.png", files[trained[4]][1])
    save_set(tmp_path, files)
    said: Said = []
    open_and_note(settings_for(tmp_path, tmp_path / "cache"), said)
    first = int(held_out[0])
    assert said == [
        f"warned: {tmp_path / 'instances.json'}: 3 of {mask.sum()} held-out images look like a training "
        f"image ({first}.png like mirrored {first}.png; 1 by the very same file), so scores may come out too "
        "high; if they are copies, or frames of one scene, keep them on one side with data.group_by "
        "(docs/data.md)"
    ]
    open_and_note(settings_for(tmp_path, tmp_path / "cache"), said)
    assert len(said) == 1
    (tmp_path / "groups.csv").write_text(
        "file_name,group\n" + "".join(f"{name},{name.split()[-1]}\n" for name, _ in files)
    )
    open_and_note(settings_for(tmp_path, tmp_path / "cache", group_by=f"csv:{tmp_path / 'groups.csv'}"), said)
    assert len(said) == 2
    assert said[1].startswith("reported: ")
