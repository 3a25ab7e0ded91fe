"""How well copies of a picture are recognised, and at what cost; the figures of docs/data.md.

python benchmarks/training/copies.py IMAGES_FOLDER ...
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from spinesearch.data.pack.images import shrunk
from spinesearch.data.pack.thumbnails import thumbnail
from spinesearch.data.split.similar import (
    Hashes,
    Thumbnails,
    find_similar,
    mirrored,
    perceptual_hashes,
)

SIDE = 128  # of a packed image
NUM_SCORED, NUM_TRAINED = 24_000, 94_000  # of COCO's 118,000 images at data.held_out_share=0.2


def main() -> None:
    """Print the distances of other pictures and of copies, for each folder, and the cost."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for folder in map(Path, sys.argv[1:]):
        pictures = [_opened(path) for path in sorted(folder.iterdir())]
        _distances(folder, pictures)
    _cost(pictures[0])


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _distances(folder: Path, pictures: list[Image.Image]) -> None:
    """Of all pairs of pictures, and of each picture with its copies, in different bits of the hash."""
    thumbnails = _thumbnails(pictures)
    hashes = perceptual_hashes(thumbnails)
    pairs = np.triu_indices(len(pictures), 1)
    nearest = np.sort(np.minimum(*(_bits(h[pairs[0]], hashes[pairs[1]]) for h in (hashes, mirrored(hashes)))))
    print(f"{folder}: {len(pictures)} pictures, the nearest pairs differ in {nearest[:4].tolist()} bits")
    print(f"{'copy':16} median bits   5 % more than   recognised")
    for name, copy in _copies().items():
        copies = _thumbnails([copy(picture) for picture in pictures])
        bits = np.minimum(
            *(_bits(h, hashes) for h in (perceptual_hashes(copies), mirrored(perceptual_hashes(copies))))
        )
        found = np.mean([find_similar(copies[[i]], thumbnails[[i]])[0] == 0 for i in range(len(copies))])
        print(f"{name:16} {np.median(bits):11.0f} {np.quantile(bits, 0.95):15.0f} {100 * found:10.0f} %")


def _copies() -> dict[str, Callable[[Image.Image], Image.Image]]:
    rng = np.random.default_rng(0)

    def noisy(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image) + rng.normal(0, 12, (image.height, image.width, 3))
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
        """A share of each side cut off, more of it at the left and at the bottom."""
        return lambda image: image.crop(
            (
                round(0.6 * share * image.width),
                round(0.3 * share * image.height),
                round((1 - 0.4 * share) * image.width),
                round((1 - 0.7 * share) * image.height),
            )
        )

    return {
        "mirrored": ImageOps.mirror,
        "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
        "grey": lambda image: image.convert("L").convert("RGB"),
        "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2.5)),
        "noisy": noisy,
        "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
        "stretched": lambda image: image.resize((640, 640)),
        "cropped by 5 %": cropped(0.05),
        "cropped by 10 %": cropped(0.1),
        "cropped by 20 %": cropped(0.2),
        "turned by 5": lambda image: image.rotate(5),
        "turned by 15": lambda image: image.rotate(15),
    }


def _cost(picture: Image.Image) -> None:
    """Of a thumbnail, and of looking for so many images as of COCO's training split are held out."""
    for side in (128, 512):
        packed = shrunk(picture, side, side * 3 // 4)
        start = time.process_time()
        for _ in range(200):
            thumbnail(packed)
        print(f"a thumbnail of {side} px: {1e3 * (time.process_time() - start) / 200:.2f} ms")
    images = _soft_noise(NUM_SCORED + NUM_TRAINED)
    start = time.process_time()
    found = find_similar(images[:NUM_SCORED], images[NUM_SCORED:])
    seconds = time.process_time() - start
    print(f"{NUM_SCORED} images among {NUM_TRAINED}: {seconds:.1f} s, {np.count_nonzero(found >= 0)} alike")


def _soft_noise(count: int) -> Thumbnails:
    """Thumbnails of a photo's spectrum: amplitudes that fall with frequency, bright at the top."""
    rng = np.random.default_rng(0)
    frequency = np.fft.fftfreq(16)
    fall = np.hypot(frequency[:, None], frequency[None])
    fall[0, 0] = 1.0
    parts = []
    for size in np.diff([*range(0, count, 10_000), count]):
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, 16, 16))) / fall**1.5).real
        noise += np.linspace(2, -2, 16)[:, None]
        noise -= noise.min(axis=(1, 2), keepdims=True)
        parts.append((255 * noise / noise.max(axis=(1, 2), keepdims=True)).astype(np.uint8))
    return np.concatenate(parts)


def _thumbnails(pictures: list[Image.Image]) -> Thumbnails:
    """Of the pictures as they are packed at `SIDE`."""
    packed = []
    for picture in pictures:
        scale = SIDE / max(picture.size)
        packed.append(shrunk(picture, *(max(1, round(scale * length)) for length in picture.size)))
    return np.array([thumbnail(image) for image in packed])


def _bits(a: Hashes, b: Hashes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """In how many bits each pair differs."""
    return np.array([(x ^ y).bit_count() for x, y in zip(a.tolist(), b.tolist(), strict=True)])


if __name__ == "__main__":
    main()
