"""Images decoded once, resized and padded, in one memory-mapped file that every worker of a machine shares.

Shape letters: N images, S side of the packed square in pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinesearch.proxy_task.cache import MOVE_HINT, build_lock, check_free_space, partial_path, publish
from spinesearch.proxy_task.coco import CocoDataset, CocoImage
from spinesearch.proxy_task.errors import DataError

PACK_VERSION = 1  # count up when the same image files would give other pixels
_BATCH = 64  # images in memory at once while packing
_MAX_THREADS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePack:
    """All images of a data set at one size.

    Attributes:
        images: uint8 [N, S, S, 3], RGB, read-only and paged in from disk as it is read. An image lies in the
            top left corner, its long side S; the rest is zero.
        sizes: int64 [N, 2], width and height of the part that is image, packed pixels.
        scales: float32 [N], packed pixels per original pixel; boxes are multiplied by it.
    """

    images: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float32]


def pack_images(
    dataset: CocoDataset,
    image_size: int,
    cache_dir: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ImagePack:
    """The images of `dataset` with their long side at `image_size`, packed by the first process to ask.

    Processes that ask meanwhile wait. An interrupted build is never read; the next one to ask starts over.

    Args:
        dataset: a data set whose files are where it says.
        image_size: S, pixels.
        cache_dir: holds the packs; N * S * S * 3 bytes each.
        progress: called with images done and N, from this thread, by the process that builds.

    Raises:
        DataError: an image cannot be decoded or has another size than annotated, or the cache cannot be
            written or has too little space.
    """
    originals = np.array([(image.width, image.height) for image in dataset.images], np.float64)
    scales = image_size / originals.max(axis=1, keepdims=True)
    sizes = np.rint(originals * scales).clip(min=1).astype(np.int64)
    shape = (len(dataset.images), image_size, image_size, 3)
    path = cache_dir / "packs" / f"{_pack_key(dataset, image_size)}.npy"
    images = _open(path, shape)
    if images is None:
        with build_lock(path):
            images = _open(path, shape)
            if images is None:
                _build(dataset, sizes, image_size, path, progress or (lambda done, total: None))
                images = np.lib.format.open_memmap(path, mode="r")
    return ImagePack(images=images, sizes=sizes, scales=scales[:, 0].astype(np.float32))


def load_rgb(path: Path) -> Image.Image:
    """An image file as 8 bit RGB, whatever it holds: grey, palette, CMYK, 16 bit, transparent.

    Pixels are as stored: EXIF orientation is not applied, since COCO's boxes belong to the stored pixels.
    Transparency is dropped, 16 bit values lose their low byte.

    Raises:
        Exception: of nearly any type, as Pillow's decoders do on damaged files.
    """
    with Image.open(path) as image:
        image.load()
        if image.mode.startswith("I"):  # 16 bit grey, in some formats held as 32 bit
            return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
        if image.mode == "P" and "transparency" in image.info:
            return image.convert("RGBA").convert("RGB")  # the way that Pillow does not warn about
        return image.convert("RGB")


def _pack_key(dataset: CocoDataset, image_size: int) -> str:
    """Hash of what the packed pixels are made from: the files (path, bytes, time of change) and the size."""
    names = [(image.file_name, image.width, image.height) for image in dataset.images]
    folder = str(dataset.images_dir.resolve())
    text = json.dumps([PACK_VERSION, image_size, folder, names, dataset.file_stats.tolist()])
    return hashlib.blake2b(text.encode()).hexdigest()[:32]


def _open(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """The finished pack, or None when there is none or it is not what a build leaves behind."""
    try:
        images: npt.NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _build(
    dataset: CocoDataset,
    sizes: npt.NDArray[np.int64],
    image_size: int,
    path: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Writes the pack of all images, or nothing. The caller holds the lock."""
    total = len(dataset.images)
    num_bytes = total * image_size * image_size * 3
    partial = partial_path(path)
    partial.unlink(missing_ok=True)  # of a build that was killed
    check_free_space(path.parent, num_bytes, f"packing {total} images at {image_size} x {image_size} pixels")
    try:
        _write(dataset, sizes, image_size, partial, progress)
        publish(path)
    except OSError as error:  # above all: another process filled the disk
        raise DataError(
            f"cache folder {path.parent}: writing {num_bytes / 1e9:.2f} GB failed ({error.strerror}); "
            f"free some space, or {MOVE_HINT}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _write(
    dataset: CocoDataset,
    sizes: npt.NDArray[np.int64],
    image_size: int,
    partial: Path,
    progress: Callable[[int, int], None],
) -> None:
    total = len(dataset.images)
    problems: list[str] = []

    def packed(i: int) -> npt.NDArray[np.uint8] | str:
        return _packed(dataset.images_dir, dataset.images[i], sizes[i], image_size)

    # Threads, as Pillow decodes without the GIL. Written, not mapped: a full disk then is an OSError, while a
    # mapped page that finds no room kills the process.
    with open(partial, "wb") as file, ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        header = {"descr": "|u1", "fortran_order": False, "shape": (total, image_size, image_size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, total, _BATCH):
            end = min(start + _BATCH, total)
            for pixels in pool.map(packed, range(start, end)):
                if isinstance(pixels, str):
                    problems.append(pixels)
                elif not problems:
                    file.write(pixels.data)
            progress(end, total)
        file.flush()
        os.fsync(file.fileno())
    if problems:
        more = f" ({len(problems)} of {total} images cannot be used)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)


def _packed(
    images_dir: Path, image: CocoImage, size: npt.NDArray[np.int64], image_size: int
) -> npt.NDArray[np.uint8] | str:
    """One image as it stands in the pack, uint8 [S, S, 3], or why it cannot be used."""
    path = images_dir / image.file_name
    try:
        pixels = load_rgb(path)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return (
            f"image {path}: cannot be decoded ({reason}); replace the file or remove it from the annotations"
        )
    if pixels.size != (image.width, image.height):
        return (
            f"image {path}: is {pixels.width} x {pixels.height} pixels as stored (without EXIF rotation), "
            f"the annotations say {image.width} x {image.height}; correct width, height and boxes"
        )
    width, height = (int(side) for side in size)
    square = np.zeros((image_size, image_size, 3), np.uint8)
    square[:height, :width] = np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR))
    return square
