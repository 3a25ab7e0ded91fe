"""Networks as programs of ``torch.export``: features, a RetinaNet's raw outputs, logits, or instances.

A Mask R-CNN is a program from images to detections and masks: raw outputs of two stages would be two
programs, with the choice of regions to be written between them.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from spinesearch.results.export.fixed_size import FixedSize
from spinesearch.results.export.plain.mask_rcnn import MaskRCNN

_TINY = torch.finfo(torch.float32).tiny


def write_program(twin: nn.Module, path: Path, size: tuple[int, int]) -> None:
    """Write a network as a ``.pt2`` file that ``torch.export.load(path).module()`` runs without its code.

    The batch is dynamic, height and width are fixed. A backbone's program returns features by level, 3 to 7,
    a RetinaNet's class logits [B, N, K] and box deltas [B, N, 4], a classifier's logits [B, K], a Mask
    R-CNN's detections [B, 100, 6] and masks [B, 100, 28, 28] as its `detect` does.

    Args:
        twin: from `plain_twin`.
        path: of the file.
        size: height and width of the images.
    """
    batch = {0: torch.export.Dim("batch")}
    example = torch.zeros(2, 3, *size)
    network = FixedSize(twin, example, settled_suppression) if isinstance(twin, MaskRCNN) else twin
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=(batch,))
    content = io.BytesIO()  # by name it would have to end in .pt2, and a full disk would be no OSError
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())


def settled_suppression(
    boxes: Tensor, scores: Tensor, threshold: float, max_iou: float, limit: int
) -> Tensor:
    """As `plain.boxes.suppress`, of boxes that have one class each, in operations that a program can hold.

    Of boxes by falling score, those go that one which stays overlaps. That is asked again with what stayed
    until nothing changes, which is after as many turns as the longest chain of boxes that overlap one another
    has, and is then what the greedy choice leaves: at least the first `limit`.
    """
    best, labels = scores.max(dim=1)
    best, order = best.sort(dim=1, descending=True, stable=True)
    labels = labels.gather(1, order)
    x1, y1, x2, y2 = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)).unsqueeze(2).unbind(-1)
    areas = (x2 - x1) * (y2 - y1)  # [B, N, 1], and against the others [B, 1, N]
    width = torch.minimum(x2, x2.mT) - torch.maximum(x1, x1.mT)
    height = torch.minimum(y2, y2.mT) - torch.maximum(y1, y1.mT)
    shared = width.clamp(min=0.0) * height.clamp(min=0.0)
    overlaps = shared / (areas + areas.mT - shared).clamp(min=_TINY) > max_iou
    is_rival = labels.unsqueeze(2) == labels.unsqueeze(1)
    is_candidate = best > threshold
    covers = (overlaps & is_rival & is_candidate.unsqueeze(2)).triu(diagonal=1)

    def changed(stays: Tensor, before: Tensor) -> Tensor:
        return (stays != before).any()

    def again(stays: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        return ~(covers & stays.unsqueeze(2)).any(dim=1), stays.clone()

    stays, _ = torch.while_loop(  # type: ignore[no-untyped-call]
        changed, again, (is_candidate, ~is_candidate)
    )
    left = torch.where(stays & is_candidate, best, torch.zeros_like(best))
    by_box = torch.zeros_like(left).scatter(1, order, left)
    return torch.where(scores > 0.0, by_box.unsqueeze(1), torch.zeros_like(scores))
