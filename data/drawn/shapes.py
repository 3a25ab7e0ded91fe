"""Outlines of the generated objects as signed distances, which give fill, border and anti-aliasing.

Every outline fits the unit circle and takes polar coordinates: `rho` the distance from the centre, `phi` the
angle in radians. It returns the distance to the edge, negative inside, exact where the edge is near.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]  # [H, W]
Outline = Callable[[Field, Field], Field]


def disk(rho: Field, phi: Field) -> Field:
    """The unit disk."""
    return rho - 1


def ring(rho: Field, phi: Field) -> Field:
    """The unit disk with a hole of half its radius."""
    distance: Field = np.abs(rho - 0.75) - 0.25
    return distance


def polygon(rho: Field, phi: Field, *, num_sides: int) -> Field:
    """A regular polygon; one corner points along angle 0."""
    half = math.pi / num_sides
    distance: Field = rho * np.cos(np.mod(phi, 2 * half) - half) - math.cos(half)
    return distance


def star(rho: Field, phi: Field) -> Field:
    """A star of five points; one points along angle 0."""
    half = math.pi / 5
    # By symmetry the wedge from a tip (angle 0) to its notch (angle `half`) is enough; its edge is a line.
    angle = np.abs(np.mod(phi + half, 2 * half) - half)
    notch = 0.45
    across, along = notch * math.sin(half), 1 - notch * math.cos(half)
    distance: Field = (rho * np.cos(angle) - 1) * across + rho * np.sin(angle) * along
    return distance / math.hypot(across, along)


# By label. A class has an outline and a hue, near which the colours of its objects are drawn (see
# `textures.random_paint`). Texture, rotation and stretch are drawn for each object alike in all classes.
OUTLINES: dict[str, Outline] = {
    "disk": disk,
    "ring": ring,
    "triangle": lambda rho, phi: polygon(rho, phi, num_sides=3),
    "square": lambda rho, phi: polygon(rho, phi, num_sides=4),
    "star": star,
}


def outline_distance(
    outline: Outline, xs: Field, ys: Field, *, radius: float, stretch: float, angle: float
) -> Field:
    """Distance to the edge of a placed object, pixels, negative inside.

    Args:
        outline: one of `OUTLINES`.
        xs: [W], pixel centres relative to the object's, pixels.
        ys: [H], likewise.
        radius: of the circle that the object fits, pixels.
        stretch: at most 1; the object's second axis in units of its first.
        angle: of the first axis, radians.
    """
    along = (xs[None, :] * math.cos(angle) + ys[:, None] * math.sin(angle)) / radius
    across = (ys[:, None] * math.cos(angle) - xs[None, :] * math.sin(angle)) / (radius * stretch)
    # Exact for no stretch; otherwise an edge is softened by at most 1 / stretch.
    return outline(np.hypot(along, across), np.arctan2(across, along)) * np.float32(radius * stretch)
