"""What all adapters do: pick some of a backbone's five features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spinesearch.models.weights.description import Backbone
from spinesearch.space import OUTPUT_LEVELS


class PickedFeatures(nn.Module):
    """A backbone and the levels of it that an adapter hands on; state dicts have the prefix ``backbone.``.

    Args:
        backbone: of `build_backbone` or `load_backbone`.
        out_indices: places among levels 3 to 7, rising; negative ones count from the end.

    Raises:
        ValueError: a place does not exist, or they do not rise.
    """

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        count = len(OUTPUT_LEVELS)
        wanted = range(count) if out_indices is None else out_indices
        if any(type(i) is not int or not -count <= i < count for i in wanted):
            raise ValueError(f"out_indices: must be in {-count}..{count - 1}, got {tuple(wanted)}")
        places = [i % count for i in wanted]
        if not places or sorted(set(places)) != places:
            raise ValueError(f"out_indices: must be different places in rising order, got {tuple(wanted)}")
        self.backbone = backbone
        self.levels = tuple(OUTPUT_LEVELS[i] for i in places)
        self.out_channels = backbone.out_channels

    def features(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] to the picked features, from fine to coarse."""
        found = self.backbone(images)
        return [found[level] for level in self.levels]
