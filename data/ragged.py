"""Per-image lists of unequal length in flat arrays, so that a file of them can be mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)


class Ragged(Sequence[npt.NDArray[Scalar]], Generic[Scalar]):
    """A sequence of arrays that are neighbouring parts of one.

    Args:
        flat: `[T, ...]`, all of them one after the other.
        offsets: int64 `[N + 1]`; array i is ``flat[offsets[i]:offsets[i + 1]]``.
    """

    __slots__ = ("flat", "offsets")

    def __init__(self, flat: npt.NDArray[Scalar], offsets: npt.NDArray[np.int64]) -> None:
        self.flat = flat
        self.offsets = offsets

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> npt.NDArray[Scalar]: ...
    @overload
    def __getitem__(self, index: slice) -> list[npt.NDArray[Scalar]]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> npt.NDArray[Scalar] | list[npt.NDArray[Scalar]]:
        """A view of array `index`, which may be negative; a slice gives a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> Ragged[Scalar]:
        """The arrays where bool `[N]` says so, copied together."""
        lengths = np.diff(self.offsets)
        return Ragged(self.flat[np.repeat(is_wanted, lengths)], offsets_of(lengths[is_wanted]))


def offsets_of(lengths: npt.NDArray[Any] | Sequence[int]) -> npt.NDArray[np.int64]:
    """Where parts of these lengths begin and, last, where all end: int64 `[N + 1]`."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def ragged_texts(texts: Sequence[str]) -> Ragged[np.uint8]:
    """The texts as UTF-8, lone surrogates included: a JSON file can name a file that no disk can have."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), offsets_of([len(text) for text in encoded]))


def text_of(encoded: npt.NDArray[np.uint8]) -> str:
    """The text of one entry of `ragged_texts`."""
    return encoded.tobytes().decode("utf-8", "surrogatepass")
