"""The loss of a Mask R-CNN on a batch without objects."""

import torch
from tiny_models import NARROW, TINY
from tiny_training import settings

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.mask_rcnn.detector import build_mask_rcnn
from spinesearch.training.input.augment import Batch
from spinesearch.training.step.mask_step import mask_rcnn_loss

RECIPE = settings(detector="mask_rcnn", rois_per_image=16).recipe(12)


def test_a_batch_without_objects_reaches_every_norm() -> None:
    """Those of several processes exchange sums in the backward pass, for which all have to come there."""
    torch.manual_seed(0)
    model = build_mask_rcnn(TINY, num_classes=2, head_num_convs=1, head_num_filters=8, **NARROW)
    no_boxes = torch.zeros(2, 0, 4)
    batch = Batch(
        torch.randn(2, 3, 128, 128),
        torch.full((2, 2), 128.0),
        no_boxes,
        torch.zeros(2, 0, dtype=torch.int64),
        torch.zeros(2, 0, 112, 112, dtype=torch.uint8),
        no_boxes,
    )
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    torch.autograd.backward(mask_rcnn_loss(model.train(), batch, anchors, RECIPE))
    gradients = {name: p.grad for name, p in model.head.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    assert not any(bool(g.any()) for name, g in gradients.items() if name.startswith("masks."))
