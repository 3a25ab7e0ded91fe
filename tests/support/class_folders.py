"""Class folders of a few small images, whose classes differ in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"green": (30, 200, 60), "red": (210, 40, 30)}


def write_class_folders(root: Path, num_images: int, *, seed: int = 0) -> Path:
    """So many images of each class in its folder, no two alike."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(num_images):
            height, width = rng.integers(30, 60, 2)
            pixels = np.clip(rng.normal(colour, 25, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root
