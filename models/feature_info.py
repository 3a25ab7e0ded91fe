"""`FeatureInfo`: what a backbone's features are, in the manner of timm's ``features_only`` models.

Code written for those (github.com/huggingface/pytorch-image-models) asks
``backbone.feature_info.channels()`` and ``.reduction()``; here it gets the same answers without timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class FeatureInfo:
    """One entry per output feature, from fine to coarse, in the order in which the backbone returns them.

    Attributes:
        info: the entries: ``num_chs`` (channels), ``reduction`` (stride in pixels of the image), ``module``
            (name of the module that puts the feature out) and ``level`` (its key in the backbone's output).
        out_indices: positions of the entries that are returned: all.
    """

    def __init__(self, info: Sequence[dict[str, Any]]) -> None:
        self.info = list(info)
        self.out_indices = tuple(range(len(self.info)))

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """A field of the entry at position ``idx``, or a list of those at several, or of all."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """The entry at position ``idx``, or a list of those at several, or of all; all fields or some."""
        if isinstance(idx, int):
            return {key: self.info[idx][key] for key in keys or self.info[idx]}
        return [self.get_dicts(keys, i) for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of the features; ``idx`` as for `get`."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Strides of the features, in pixels of the image; ``idx`` as for `get`."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Names of the modules that return the features; ``idx`` as for `get`."""
        return self.get("module", idx)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.info[item]

    def __len__(self) -> int:
        return len(self.info)


def endpoint_info(levels: Sequence[int], channels: int) -> FeatureInfo:
    """Info of a backbone whose endpoints, ``endpoints.<level>``, all have this many channels."""
    return FeatureInfo(
        [
            {"num_chs": channels, "reduction": 2**level, "module": f"endpoints.{level}", "level": level}
            for level in levels
        ]
    )
