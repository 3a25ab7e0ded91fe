"""What data costs: packing, JPEG storage and batches from either storage; the figures of docs/data.md.

python benchmarks/training/data_speed.py IMAGES_FOLDER ANNOTATION_FILE [IMAGE_SIZE ...]
"""

from __future__ import annotations

import functools
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from PIL import Image

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.read import load_coco
from spinesearch.data.pack import jpegs
from spinesearch.data.pack.images import read_image, shrunk
from spinesearch.data.pack.jpegs import decode_by_pillow
from spinesearch.data.pack.pack import open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import JpegStorage, RawStorage, Storage
from spinesearch.data.parallel import in_order, num_processors, processor_name
from spinesearch.training.input.batches import read_images

Item = TypeVar("Item")
BATCH_SIZE = 64  # the paper task's
MAX_IMAGES = 100  # of which JPEGs are measured


def main() -> None:
    """Print everything for each image size."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    images, annotations = map(Path, sys.argv[1:3])
    versions = f"numpy {np.__version__}, Pillow {PIL.__version__}"
    print(f"{processor_name()}, {num_processors()} processors, {versions}")
    dataset = load_coco(images, annotations)
    for side in map(int, sys.argv[3:] or ["128", "512"]):
        print(f"\n{len(dataset.images)} images at {side} px")
        _packing(images, annotations, side)
        pictures = [_picture(dataset, i, side) for i in range(min(len(dataset.images), MAX_IMAGES))]
        _jpegs(pictures, side)
        _batches(images, annotations, side)


def _packing(images: Path, annotations: Path, side: int) -> None:
    """Images decoded and resized a second, by threads and by processes, and packed in all."""
    dataset = load_coco(images, annotations)
    count = len(dataset.images)
    num_all = num_processors()
    for num_threads in sorted({1, num_all}):
        rates, used = [], []
        for _ in range(3):
            start, cpu = time.perf_counter(), time.process_time()
            encode = functools.partial(_encoded_square, dataset, side)
            for _ in in_order(encode, range(count), num_threads=num_threads):
                pass
            seconds = time.perf_counter() - start
            rates.append(count / seconds)
            used.append((time.process_time() - cpu) / seconds)
        print(
            f"decoding, {num_threads} threads: {max(rates):.0f} images/s, {max(used):.2f} processors busy, "
            f"{1e3 * min(u / r for u, r in zip(used, rates, strict=True)):.1f} ms of one per image"
        )
    with ProcessPoolExecutor(num_all, initializer=_remember, initargs=(dataset, side)) as pool:
        list(pool.map(_square, range(num_all)))
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in pool.map(_square, range(count), chunksize=8):
                pass
            rates.append(count / (time.perf_counter() - start))
    print(f"decoding, {num_all} processes that send pixels back: {max(rates):.0f} images/s")
    with tempfile.TemporaryDirectory() as folder:
        open_pack(_source(images, annotations, side, RawStorage()), Path(folder), report=print)


def _jpegs(pictures: list[Image.Image], side: int) -> None:
    """Bytes, error, and processor time per image of JPEGs of several qualities, chroma full and halved."""
    try:
        import simplejpeg
    except ImportError:
        simplejpeg = None
    print("quality chroma   kB/image  raw/JPEG  PSNR dB  encode ms  decode ms: Pillow  simplejpeg")
    for quality in (80, 90, 95):
        for chroma, subsampling in (("full", 0), ("half", 2)):
            encoded = [
                np.frombuffer(_encoded(picture, quality, subsampling), np.uint8) for picture in pictures
            ]
            size = statistics.mean(len(data) for data in encoded)
            errors = [
                np.square(np.asarray(picture, np.float64) - decode_by_pillow(data)).mean()
                for picture, data in zip(pictures, encoded, strict=True)
            ]
            psnr = 10 * np.log10(255**2 / statistics.mean(errors))
            encode = _ms_each(partial(_encoded, quality=quality, subsampling=subsampling), pictures)
            pillow = _ms_each(decode_by_pillow, encoded)
            simple = _ms_each(lambda d: simplejpeg.decode_jpeg(d, "RGB"), encoded) if simplejpeg else 0.0
            print(
                f"{quality:7} {chroma:6} {size / 1e3:10.1f} {side * side * 3 / size:9.1f} {psnr:8.1f} "
                f"{encode:10.2f} {pillow:18.2f} {simple:11.2f}"
            )


def _batches(images: Path, annotations: Path, side: int) -> None:
    """Milliseconds per batch from either storage, pages in memory."""
    index = np.arange(BATCH_SIZE) % len(load_coco(images, annotations).images)
    with tempfile.TemporaryDirectory() as folder:
        for storage in (RawStorage(), JpegStorage(90)):
            packed = open_pack(_source(images, annotations, side, storage), Path(folder)).images.images
            decoders = ("simplejpeg", "Pillow") if isinstance(storage, JpegStorage) else ("",)
            for decoder in decoders:
                if decoder == "Pillow":
                    jpegs._decoder.cache_clear()
                    sys.modules["simplejpeg"] = None  # type: ignore[assignment]  # makes its import fail
                times = []
                for _ in range(15):
                    start = time.perf_counter()
                    read_images(packed, index, pinned=False)
                    times.append(time.perf_counter() - start)
                name = f"{storage.label} {decoder}".strip()
                ms = 1e3 * statistics.median(times)
                print(f"batch of {BATCH_SIZE}, {name}: {ms:.1f} ms, {BATCH_SIZE / ms * 1e3:.0f} images/s")
    sys.modules.pop("simplejpeg", None)
    jpegs._decoder.cache_clear()


def _source(images: Path, annotations: Path, side: int, storage: Storage) -> PackSource:
    return PackSource(images_dir=images, annotations_path=annotations, image_size=side, storage=storage)


def _picture(dataset: CocoDataset, i: int, side: int) -> Image.Image:
    image = dataset.images[i]
    scale = side / max(image.width, image.height)
    width, height = (max(1, round(length * scale)) for length in (image.width, image.height))
    return shrunk(read_image(dataset.images_dir, image), width, height)


def _encoded(picture: Image.Image, quality: int, subsampling: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _ms_each(function: Callable[[Item], object], items: list[Item]) -> float:
    """Processor time per item, the least of five rounds."""
    rounds = []
    for _ in range(5):
        start = time.thread_time()
        for item in items:
            function(item)
        rounds.append(time.thread_time() - start)
    return 1e3 * min(rounds) / len(items)


_known: list[tuple[CocoDataset, int]] = []


def _remember(dataset: CocoDataset, side: int) -> None:
    _known.append((dataset, side))


def _square(i: int) -> bytes:
    return _encoded_square(*_known[0], i)


def _encoded_square(dataset: CocoDataset, side: int, i: int) -> bytes:
    return RawStorage().encode(_picture(dataset, i, side), side)


if __name__ == "__main__":
    main()
