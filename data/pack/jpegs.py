"""Packed images that lie on disk as JPEGs, decoded batch by batch on several threads.

Shape letters: N images, B images of a batch, S side of the packed square in pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinesearch.data.errors import DataError
from spinesearch.data.parallel import in_parts
from spinesearch.data.ragged import Ragged

Decode = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


class JpegImages:
    """uint8 `[N, S, S, 3]`, RGB, as far as reading goes: indexing decodes.

    Args:
        data: the JPEGs, one after the other; `[h, w]` pixels each that lie in the top left of the square.
        offsets: int64 `[N + 1]`, where each begins and, last, where all end.
        side: S.
    """

    def __init__(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], side: int) -> None:
        self._jpegs = Ragged(data, offsets)
        self._side = side

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""
        return len(self._jpegs), self._side, self._side, 3

    def __getitem__(self, index: npt.NDArray[np.int64] | int, /) -> npt.NDArray[np.uint8]:
        """The images `[B, S, S, 3]` at these positions `[B]`, or `[S, S, 3]` at one.

        Raises:
            DataError: a JPEG is damaged.
        """
        positions = np.atleast_1d(index)
        out = np.empty((len(positions), *self.shape[1:]), np.uint8)
        self.read(positions, out)
        return out if np.ndim(index) else out[0]

    def read(self, index: npt.NDArray[np.int64], out: npt.NDArray[np.uint8], *, num_threads: int = 1) -> None:
        """Decodes the images at these positions `[B]` into `out`, `[B, S, S, 3]`.

        Args:
            index: positions.
            out: where to.
            num_threads: as `in_parts` has it.

        Raises:
            DataError: a JPEG is damaged.
        """
        in_parts(self._decode, index, out, num_threads=num_threads)

    def _decode(self, index: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> None:
        decode = _decoder()
        for i, square in zip(index.tolist(), out, strict=True):
            try:
                pixels = decode(self._jpegs[i])
                height, width, _ = pixels.shape
                square[:height, :width] = pixels
            except (OSError, ValueError) as error:
                folder = getattr(self._jpegs.flat, "filename", "the pack")
                raise DataError(
                    f"{folder}: image {i} is damaged ({' '.join(str(error).split())}); delete the folder it "
                    "is in, and the next search packs the images again"
                ) from error
            square[height:] = 0
            square[:height, width:] = 0


@cache
def _decoder() -> Decode:
    """The decoder: simplejpeg where it is installed, else Pillow; equal pixels, both being libjpeg-turbo.

    Pillow takes half as long again and holds the interpreter's lock for a fifth of it (docs/data.md).
    """
    try:
        import simplejpeg
    except ImportError:
        return decode_by_pillow
    return lambda data: simplejpeg.decode_jpeg(data, "RGB")


def decode_by_pillow(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels `[h, w, 3]` of a JPEG."""
    with Image.open(io.BytesIO(data)) as image:  # type: ignore[arg-type]
        pixels: npt.NDArray[Any] = np.asarray(image)
    return pixels
