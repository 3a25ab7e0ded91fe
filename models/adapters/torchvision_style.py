"""A backbone as torchvision's detectors take one."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from spinesearch.models.adapters.features import PickedFeatures


class TorchvisionBackbone(PickedFeatures):
    """An ``OrderedDict`` of features with the keys "0", "1", ... and ``out_channels``.

    The contract: the docstrings of torchvision.models.detection's ``FasterRCNN`` and ``RetinaNet``, which ask
    for ``out_channels`` and a tensor or an ``OrderedDict[Tensor]``. Their anchor generator needs one entry of
    sizes for each feature, ``MultiScaleRoIAlign`` the keys as ``featmap_names``.
    """

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Images [B, 3, H, W] to features by name, from fine to coarse."""
        return OrderedDict((str(i), feature) for i, feature in enumerate(self.features(images)))
