"""Images that look like one another: copies of a picture, mirrored or not, found by their thumbnails.

Q images that are compared with K others.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Thumbnails = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

# Of all pairs of photos of COCO and of BCCD's blood cells the nearest differ in 18 and 12 bits, and 95 % of
# copies that are mirrored, brightened, blurred, noisy or of another size in 0 to 7; `make bench-copies`.
MAX_DIFFERENT_BITS = 7
# Of 118,000 photos some pairs come that close by chance. Then their thumbnails do not correlate: those copies
# do by 0.97 and more, photos of COCO by 0.86 at most.
MIN_CORRELATION = 0.9

_FREQUENCIES = 8  # of the cosine transform, in each direction
_BYTES = 8  # of a hash: with at most 7 bits different, at least one of 8 bytes is equal
_CHUNK = 2048  # hashes compared at a time
_NUM_ONES = np.array([value.bit_count() for value in range(2**16)], np.uint8)


def find_similar(asking: Thumbnails, among: Thumbnails) -> npt.NDArray[np.int64]:
    """For each of Q images the position among K of one that looks like it or its mirror image, or -1.

    Compared are only images whose hashes share a byte, so that of random ones a 32nd is. What has found its
    match is done: data of which all images look alike take no longer.

    Args:
        asking: `[Q, side, side]`, grey.
        among: `[K, side, side]`.
    """
    found = np.full(len(asking), -1, np.int64)
    queries, keys = perceptual_hashes(asking), perceptual_hashes(among)
    for asked, hashes in ((asking, queries), (asking[:, :, ::-1], mirrored(queries))):
        for byte in range(_BYTES):
            _match_byte(found, asked, among, hashes, keys, byte)
    return found


def perceptual_hashes(thumbnails: Thumbnails) -> Hashes:
    """The signs of the lowest frequencies of each thumbnail's cosine transform but the mean, `[N]`.

    Brightness and contrast change none of them; small edits change few.
    """
    side = thumbnails.shape[1]
    angle = np.pi * np.arange(_FREQUENCIES)[:, None] * (np.arange(side) + 0.5) / side
    cosines = np.cos(angle).astype(np.float32)
    frequencies = cosines @ thumbnails.astype(np.float32) @ cosines.T
    signs = (frequencies > 0).reshape(len(thumbnails), -1)
    signs[:, 0] = False
    return np.packbits(signs, axis=1).view(np.uint64)[:, 0]


def mirrored(hashes: Hashes) -> Hashes:
    """The hashes of the same images mirrored left to right, which negates the odd horizontal frequencies."""
    is_odd = np.tile(np.arange(_FREQUENCIES) % 2 == 1, _FREQUENCIES)
    flipped: Hashes = hashes ^ np.packbits(is_odd).view(np.uint64)[0]
    return flipped


def _match_byte(
    found: npt.NDArray[np.int64],
    asked: Thumbnails,
    among: Thumbnails,
    hashes: Hashes,
    keys: Hashes,
    byte: int,
) -> None:
    """Fills `found` for images without a match yet, from images whose hash has this byte in common."""
    asking = np.flatnonzero(found < 0)
    byte_asked = hashes.view(np.uint8).reshape(-1, _BYTES)[asking, byte]
    byte_of_keys = keys.view(np.uint8).reshape(-1, _BYTES)[:, byte]
    order = np.argsort(byte_of_keys, kind="stable")
    starts = np.searchsorted(byte_of_keys[order], np.arange(257))
    for value in np.unique(byte_asked).tolist():
        bucket = order[starts[value] : starts[value + 1]]
        searching = asking[byte_asked == value]
        for start in range(0, len(bucket), _CHUNK):
            searching = _match(found, asked, among, hashes, keys, searching, bucket[start : start + _CHUNK])


def _match(
    found: npt.NDArray[np.int64],
    asked: Thumbnails,
    among: Thumbnails,
    hashes: Hashes,
    keys: Hashes,
    searching: npt.NDArray[np.int64],
    bucket: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Compares all that search with all in the bucket; those still without a match."""
    for start in range(0, len(searching), _CHUNK):
        part = searching[start : start + _CHUNK]
        distance = _different_bits(hashes[part, None], keys[None, bucket])
        nearest = distance.argmin(axis=1)
        near = distance[np.arange(len(part)), nearest] <= MAX_DIFFERENT_BITS
        part, match = part[near], bucket[nearest[near]]
        alike = _correlation(asked[part], among[match]) >= MIN_CORRELATION
        found[part[alike]] = match[alike]
    return searching[found[searching] < 0]


def _different_bits(a: Hashes, b: Hashes) -> npt.NDArray[np.uint8]:
    """In how many bits each pair differs."""
    total: npt.NDArray[np.uint8]
    if hasattr(np, "bitwise_count"):  # from numpy 2 on
        total = np.bitwise_count(a ^ b)
        return total
    quarters = _NUM_ONES[(a ^ b)[..., None].view(np.uint16)]
    total = quarters.sum(axis=-1, dtype=np.uint8)
    return total


def _correlation(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.float32]:
    """Of the pixels of each pair, `[N]`; 0 where a thumbnail is all of one grey."""
    x, y = (_centred(thumbnails) for thumbnails in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    correlation: npt.NDArray[np.float32] = (x * y).sum(axis=1) / np.maximum(norms, 1.0)
    return correlation


def _centred(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    flat = thumbnails.reshape(len(thumbnails), math.prod(thumbnails.shape[1:])).astype(np.float32)
    centred: npt.NDArray[np.float32] = flat - flat.mean(axis=1, keepdims=True)
    return centred
