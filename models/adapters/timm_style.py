"""A backbone as timm's ``create_model(..., features_only=True)`` gives one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from spinesearch.models.adapters.features import PickedFeatures
from spinesearch.models.feature_info import FeatureInfo, endpoint_info
from spinesearch.models.weights.description import Backbone


class TimmFeatures(PickedFeatures):
    """A list of features, and ``feature_info`` with ``channels()``, ``reduction()`` and ``module_name()``.

    The contract: timm's documentation, "Feature Extraction", multi-scale feature maps.

    Args:
        backbone: of `build_backbone` or `load_backbone`.
        out_indices: places among levels 3 to 7, of which ``feature_info`` then tells.
    """

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None) -> None:
        super().__init__(backbone, out_indices)
        self.feature_info: FeatureInfo = endpoint_info(self.levels, self.out_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] to features, from fine to coarse."""
        return self.features(images)
