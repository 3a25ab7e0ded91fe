"""Copies of a picture are found by their thumbnails, other pictures are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_sets import picture
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from spinesearch.data.pack.thumbnails import thumbnail
from spinesearch.data.split.similar import (
    MAX_DIFFERENT_BITS,
    Thumbnails,
    find_similar,
    mirrored,
    perceptual_hashes,
)

PICTURES = [picture(seed, (128, 96)) for seed in range(60)]


def thumbnails(images: list[Image.Image]) -> Thumbnails:
    return np.array([thumbnail(image) for image in images])


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 6, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same": lambda image: image,
    "mirrored": ImageOps.mirror,
    "half the size": lambda image: image.resize((64, 48)),
    "stretched": lambda image: image.resize((128, 128)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noisy": noisy,
    "mirrored and blurred": lambda image: ImageOps.mirror(image).filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_every_copy_is_found_with_its_picture(copy: str) -> None:
    copies = thumbnails([COPIES[copy](image) for image in PICTURES])
    assert find_similar(copies, thumbnails(PICTURES)).tolist() == list(range(len(PICTURES)))


def test_other_pictures_are_not() -> None:
    others = thumbnails([picture(seed, (128, 96)) for seed in range(1000, 1300)])
    assert (find_similar(others, thumbnails(PICTURES)) == -1).all()


def test_pictures_of_one_grey_look_like_nothing() -> None:
    blank = np.full((3, 16, 16), 255, np.uint8)
    assert (find_similar(blank, blank) == -1).all()


@pytest.mark.parametrize("has_bitwise_count", [True, False])
def test_all_pairs_within_the_distance_are_seen(
    has_bitwise_count: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a plain loop, with pairs at every distance from 0 on that noise makes."""
    if not has_bitwise_count:  # numpy before 2
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    rng = np.random.default_rng(0)
    among = thumbnails(PICTURES)
    spread = rng.uniform(0, 30, (600, 1, 1))
    asking = (among[rng.integers(0, 60, 600)] + rng.normal(0, 1, (600, 16, 16)) * spread).clip(0, 255)
    asking = asking.astype(np.uint8)
    expected = []
    keys = perceptual_hashes(among).tolist()
    for image, query in zip(asking, perceptual_hashes(asking).tolist(), strict=True):
        near = [k for k, key in enumerate(keys) if (query ^ key).bit_count() <= MAX_DIFFERENT_BITS]
        alike = [k for k in near if np.corrcoef(image.ravel(), among[k].ravel())[0, 1] >= 0.9]
        expected.append(alike[0] if alike else -1)
    assert 60 < sum(k >= 0 for k in expected) < 500
    assert find_similar(asking, among).tolist() == expected


def test_mirroring_an_image_mirrors_its_hash() -> None:
    images = thumbnails(PICTURES)
    assert perceptual_hashes(images[:, :, ::-1]).tolist() == mirrored(perceptual_hashes(images)).tolist()


def test_a_thousand_images_of_one_scene_each_find_one() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (3000, 16, 16))
    scene = (thumbnail(PICTURES[0]) + noise).clip(0, 255).astype(np.uint8)
    assert (find_similar(scene[:500], scene[500:]) >= 0).all()


@pytest.mark.parametrize("name", ["bccd", "coco_tiny100"])
def test_photos_and_blood_cells_raise_no_false_alarm(
    name: str, shared_data: Callable[[str], tuple[str, str]]
) -> None:
    """Of all pairs of an image in one half and one in the other, one is alike: the same cells, shot twice."""
    folder = Path(shared_data(name)[0])
    files = sorted(folder.iterdir())
    images = []
    for file in files:
        with Image.open(file) as image:
            image.draft("RGB", (160, 160))
            images.append(thumbnail(image.convert("RGB")))
    found = find_similar(np.array(images[::2]), np.array(images[1::2]))
    alike = [(files[2 * i].name, files[2 * k + 1].name) for i, k in enumerate(found) if k >= 0]
    assert alike == ([("BloodImage_00037.jpg", "BloodImage_00038.jpg")] if name == "bccd" else [])
