"""Drawing one generated image: a ground, objects that partly cover each other, and what of them can be seen.

Shape letters: H, W height and width in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.outlines import encode_mask
from spinesearch.data.drawn.shapes import OUTLINES, outline_distance
from spinesearch.data.drawn.textures import random_ground, random_paint

CLASS_NAMES = tuple(OUTLINES)
_MAX_OBJECTS = 10
_MIN_VISIBLE = 0.4  # of an object's pixels, after all objects are drawn
_PLACEMENT_TRIES = 15
_Slices = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How large images and objects are drawn.

    Attributes:
        long_side: range of an image's longer side, pixels.
        short_side: range of the other, in units of the longer.
        largest: diameter that no object exceeds, in units of the shorter side.
        diameters: ranges of objects' diameters in pixels, each with its share of the objects; within a range
            they are uniform in the logarithm.
        largest_first: draw the objects of an image from the largest down, so that a large one, which would
            hide those before it, finds a place too.
    """

    long_side: tuple[int, int] = (240, 320)
    short_side: tuple[float, float] = (0.75, 1.0)
    largest: float = 0.95
    diameters: tuple[tuple[tuple[float, float], float], ...]
    largest_first: bool = True


# By `data.object_sizes`. Small, medium and large are COCO's: of at most 32 and at least 96 pixels a side.
OBJECT_SIZES = {
    # All data sets drawn before there was a choice: sizes that a network can distinguish at 128 pixels.
    "narrow": Sizes(
        long_side=(128, 200),
        short_side=(0.6, 1.0),
        largest=0.85,
        diameters=(((6, 20), 0.15), ((20, 70), 0.7), ((70, 100), 0.15)),
        largest_first=False,
    ),
    # Each of five outputs learns from much the same number of objects (docs/reward-noise.md).
    "wide": Sizes(diameters=(((14, 32), 0.25), ((32, 96), 0.25), ((96, 200), 0.2), ((200, 300), 0.3))),
    "small": Sizes(diameters=(((14, 48), 1.0),)),
    "medium": Sizes(diameters=(((32, 128), 1.0),)),
    "large": Sizes(diameters=(((96, 300), 1.0),)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One drawn image and what can be seen on it.

    Attributes:
        pixels: uint8 [H, W, 3], RGB.
        labels: index into `CLASS_NAMES` of each object, in the order they were drawn.
        boxes_xywh: tight around an object's visible pixels, as COCO annotates what is partly covered.
        areas: number of its visible pixels.
        masks: these pixels, as COCO's compressed run lengths.
    """

    pixels: npt.NDArray[np.uint8]
    labels: list[int]
    boxes_xywh: list[list[int]]
    areas: list[int]
    masks: list[str]


def draw_picture(rng: np.random.Generator, sizes: Sizes) -> Picture:
    """An image of 1 to 10 objects, none of them more than 60 % covered or cut off."""
    long_side = int(rng.integers(sizes.long_side[0], sizes.long_side[1] + 1))
    short_side = round(long_side * rng.uniform(*sizes.short_side))
    height, width = (long_side, short_side) if rng.random() < 0.5 else (short_side, long_side)
    canvas = random_ground(rng, height, width)
    owner = np.full((height, width), -1, np.int16)  # which object a pixel belongs to
    labels: list[int] = []
    full_areas: list[int] = []
    num_objects = 1 + rng.binomial(_MAX_OBJECTS - 1, 0.35)
    largest_first = (
        sorted((_draw_diameter(rng, sizes) for _ in range(num_objects)), reverse=True)
        if sizes.largest_first
        else []
    )
    for number in range(num_objects):
        label = int(rng.integers(len(CLASS_NAMES)))
        diameter = largest_first[number] if largest_first else _draw_diameter(rng, sizes)
        diameter = min(diameter, sizes.largest * short_side)
        full_area = _add_object(rng, canvas, owner, label, diameter, full_areas)
        if full_area:
            labels.append(label)
            full_areas.append(full_area)
    canvas += rng.normal(0, 0.015, canvas.shape)  # grain
    boxes, areas, masks = [], [], []
    for index in range(len(labels)):
        ys, xs = np.nonzero(owner == index)
        x, y = int(xs.min()), int(ys.min())
        boxes.append([x, y, int(xs.max()) + 1 - x, int(ys.max()) + 1 - y])
        areas.append(len(xs))
        masks.append(encode_mask(owner == index).decode())
    pixels = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Picture(pixels=pixels, labels=labels, boxes_xywh=boxes, areas=areas, masks=masks)


def _draw_diameter(rng: np.random.Generator, sizes: Sizes) -> float:
    """A diameter in pixels, as often as `Sizes.diameters` has it."""
    shares = [share for _, share in sizes.diameters]
    low, high = sizes.diameters[rng.choice(len(shares), p=shares)][0]
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _add_object(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int16],
    label: int,
    diameter: float,
    full_areas: list[int],
) -> int:
    """Draws one object on `canvas` [H, W, 3] and enters it into `owner` [H, W] as number ``len(full_areas)``.

    Returns:
        Its area in pixels before anything covers it or cuts it off; 0 when nothing was drawn, as no place was
        found that leaves enough of every object to be seen.
    """
    height, width = owner.shape
    radius = diameter / 2
    reach = math.ceil(radius) + 2
    grid = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = outline_distance(
        OUTLINES[CLASS_NAMES[label]],
        grid + np.float32(rng.uniform(-0.5, 0.5)),
        grid + np.float32(rng.uniform(-0.5, 0.5)),
        radius=radius,
        stretch=rng.uniform(0.75, 1),
        angle=rng.uniform(0, 2 * math.pi),
    )
    mask = distance < 0
    full_area = int(mask.sum())
    for _ in range(_PLACEMENT_TRIES):
        y = int(rng.uniform(0.6 * radius, height - 0.6 * radius))
        x = int(rng.uniform(0.6 * radius, width - 0.6 * radius))
        place, patch = _overlap(y, x, reach, height, width)
        if _leaves_enough(owner, owner[place][mask[patch]], full_area, full_areas):
            break
    else:
        return 0
    # Shape and colour both show the class, as of most things in photographs; a training of `small`'s
    # length does not learn shape alone.
    _paint(rng, canvas, distance, (y, x), radius, hue=label / len(CLASS_NAMES))
    owner[place][mask[patch]] = len(full_areas)
    return full_area


def _overlap(y: int, x: int, reach: int, height: int, width: int) -> tuple[_Slices, _Slices]:
    """Where a patch of 2 * reach + 1 pixels around (y, x) lies on the image, and that part of the patch."""
    top, left = max(y - reach, 0), max(x - reach, 0)
    bottom, right = min(y + reach + 1, height), min(x + reach + 1, width)
    place = slice(top, bottom), slice(left, right)
    origin_y, origin_x = y - reach, x - reach
    return place, (slice(top - origin_y, bottom - origin_y), slice(left - origin_x, right - origin_x))


def _leaves_enough(
    owner: npt.NDArray[np.int16], covered: npt.NDArray[np.int16], full_area: int, full_areas: list[int]
) -> bool:
    """Whether all objects stay visible enough if one of `full_area` pixels takes those `covered` [n]."""
    if covered.size < _MIN_VISIBLE * full_area:
        return False  # cut off by the image's edge
    hit = np.bincount(covered + 1, minlength=len(full_areas) + 1)[1:]
    return all(
        np.count_nonzero(owner == k) - hit[k] >= _MIN_VISIBLE * full_areas[k] for k in np.flatnonzero(hit)
    )


def _paint(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.float32],
    distance: npt.NDArray[np.float32],
    centre: tuple[int, int],
    radius: float,
    *,
    hue: float,
) -> None:
    """Blends an object over `canvas`: a soft shadow, its fill lit from the top left, its border."""
    height, width, _ = canvas.shape
    reach = distance.shape[0] // 2
    y, x = centre
    offset = 1 + round(0.08 * radius)
    softness = 1 + 0.15 * radius
    place, patch = _overlap(y + offset, x + offset, reach, height, width)
    shadow = 0.45 * np.clip(0.5 - distance / softness, 0, 1)
    canvas[place] *= 1 - shadow[patch][..., None]

    place, patch = _overlap(y, x, reach, height, width)
    under = canvas[place].mean(axis=(0, 1))
    fill, border_colour = random_paint(rng, *distance.shape, radius=radius, hue=hue, under=under)
    ramp = np.linspace(0.15, -0.15, distance.shape[0], dtype=np.float32)
    fill = fill * (1 + ramp[:, None] + ramp[None, :])[..., None]
    border_width = 1 + rng.uniform(0.04, 0.12) * radius if rng.random() < 0.7 else 0.0
    on_border = np.clip(distance + border_width + 0.5, 0, 1)[..., None] if border_width else np.float32(0)
    colour = fill + (border_colour - fill) * on_border
    coverage = np.clip(0.5 - distance, 0, 1)[..., None]
    canvas[place] += (colour[patch] - canvas[place]) * coverage[patch]
