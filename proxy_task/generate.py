"""Stub until the generator lands."""

from collections.abc import Callable
from pathlib import Path


def generate_dataset(
    root: Path,
    *,
    num_images: int,
    num_val_images: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Stub."""
    raise NotImplementedError
