"""Grounds and paints of the generated images: fields of several kinds, and colours they blend between.

Shape letters: H, W height and width in pixels. Colours are float32 RGB in 0..1.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]  # [H, W], 0..1
Colour = npt.NDArray[np.float32]  # [3] or [H, W, 3], 0..1

GROUND_KINDS = ("noise", "gradient", "stripes", "waves", "checks", "plain")
PAINT_KINDS = ("plain", "gradient", "stripes", "noise", "checks")
HUE_SPREAD = 0.05  # deviation of an object's hue from its class's, turns; five classes are 0.2 apart


def random_colour(
    rng: np.random.Generator,
    *,
    saturation: tuple[float, float],
    value: tuple[float, float],
    hue: float | None = None,
) -> Colour:
    """A colour, [3], of a hue near the one given (turns of the colour wheel), or of any."""
    turn = rng.uniform(0, 1) if hue is None else (hue + rng.normal(0, HUE_SPREAD)) % 1
    return np.array(colorsys.hsv_to_rgb(turn, rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, *, cell: float, octaves: int = 1
) -> Field:
    """Random values every `cell` pixels, interpolated; each further octave has half the cell and height."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = cell / 2**octave
        grid = rng.random((2 + int(height / step), 2 + int(width / step)), dtype=np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 2 ** (octave + 1)
    noise: Field = np.clip(total / (1 - 0.5**octaves), 0, 1)
    return noise


def random_field(rng: np.random.Generator, kind: str, height: int, width: int, *, scale: float) -> Field:
    """A field of the named kind whose features are about `scale` pixels large.

    Kinds: plain, gradient, stripes (straight), waves (stripes bent by noise), checks, noise.
    """
    if kind == "plain":
        return np.full((height, width), rng.uniform(0, 1), np.float32)
    if kind == "noise":
        return smooth_noise(rng, height, width, cell=scale, octaves=3)
    angle = rng.uniform(0, 2 * math.pi)
    ys = np.arange(height, dtype=np.float32)[:, None]
    xs = np.arange(width, dtype=np.float32)[None, :]
    along = xs * math.cos(angle) + ys * math.sin(angle)
    if kind == "gradient":
        low, high = float(along.min()), float(along.max())
        return ((along - low) / max(high - low, 1.0)).astype(np.float32)
    phase = along * (2 * math.pi / scale) + rng.uniform(0, 2 * math.pi)
    if kind == "waves":
        phase = phase + 6 * smooth_noise(rng, height, width, cell=2 * scale)
    wave = np.sin(phase)
    if kind == "checks":
        across = (ys * math.cos(angle) - xs * math.sin(angle)) * (2 * math.pi / scale)
        wave = wave * np.sin(across)
    elif kind not in ("stripes", "waves"):
        raise AssertionError(f"unknown kind of texture {kind!r}")
    return np.clip(0.5 + 1.5 * wave, 0, 1).astype(np.float32)  # soft edges, flat in between


def blend(low: Colour, high: Colour, field: Field) -> Colour:
    """Colours [H, W, 3] that run from `low` [3] where the field is 0 to `high` [3] where it is 1."""
    return low + (high - low) * field[..., None]


def random_ground(rng: np.random.Generator, height: int, width: int) -> Colour:
    """The background of an image, [H, W, 3]: two muted colours, a texture, uneven light."""
    kind = GROUND_KINDS[rng.integers(len(GROUND_KINDS))]
    scale = rng.uniform(16, 64)
    low = random_colour(rng, saturation=(0.05, 0.4), value=(0.2, 0.85))
    other = random_colour(rng, saturation=(0.05, 0.4), value=(0.2, 0.85))
    high = low + rng.uniform(0.2, 0.6) * (other - low)
    ground = blend(low, high, random_field(rng, kind, height, width, scale=scale))
    light = 0.8 + 0.4 * smooth_noise(rng, height, width, cell=80)
    return np.asarray(ground * light[..., None])


def random_paint(
    rng: np.random.Generator, height: int, width: int, *, radius: float, hue: float, under: Colour
) -> tuple[Colour, Colour]:
    """How an object looks: its fill [H, W, 3] and the colour [3] of its border.

    Args:
        rng: source of all choices; as many numbers are drawn whatever `under` is.
        height: H of the patch.
        width: W of the patch.
        radius: of the object, pixels; its texture's scale.
        hue: what its class's colours are near, turns of the colour wheel.
        under: [3], mean colour of what it will lie on. Of three colours, the one most unlike it is taken.
    """
    kind = PAINT_KINDS[rng.integers(len(PAINT_KINDS))]
    candidates = [random_colour(rng, saturation=(0.5, 0.95), value=(0.45, 1.0), hue=hue) for _ in range(3)]
    main = max(candidates, key=lambda colour: float(np.abs(colour - under).sum()))
    second = np.clip(main * rng.uniform(0.55, 0.8) + float(rng.choice([0.0, 0.25])), 0, 1)
    fill = blend(
        main, second, random_field(rng, kind, height, width, scale=rng.uniform(0.35, 0.8) * radius + 3)
    )
    border = main * 0.35 if rng.random() < 0.6 else 0.35 * main + 0.65
    return fill, border.astype(np.float32)
