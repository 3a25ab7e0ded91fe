"""A found backbone inside a detector of your own, which takes any backbone by torchvision's contract.

    python examples/own_detector.py [SPEC.json|NAME]

The contract: `out_channels`, and an `OrderedDict` of features from fine to coarse. `Detector` is anchor-
free: at each place of each feature a score by class and the distances to a box's sides; places that are
the best of their neighbours are detections.
"""

import sys
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spinesearch import build_backbone
from spinesearch.models.adapters.torchvision_style import TorchvisionBackbone


class Detector(nn.Module):
    """Boxes and scores by class. B images, C classes, [h, w] places of a feature.

    Args:
        backbone: torchvision's contract.
        num_classes: C.
    """

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        width = int(backbone.out_channels)  # type: ignore[arg-type]
        self.backbone = backbone
        self.tower = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU())
        self.scores = nn.Conv2d(width, num_classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.constant_(self.scores.bias, -4.6)  # type: ignore[arg-type] # a prior of 0.01 (focal loss, 4.1)

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Images [B, 3, H, W] to logits [B, C, h, w] and boxes [B, 4, h, w] in pixels, by feature."""
        features: OrderedDict[str, Tensor] = self.backbone(images)
        outputs = []
        for feature in features.values():
            tower = self.tower(feature)
            outputs.append((self.scores(tower), self._boxes(self.sides(tower), images.shape[-1])))
        return outputs

    def _boxes(self, sides: Tensor, image_width: int) -> Tensor:
        """Distances to left, top, right and bottom in strides, as logarithms, to x1, y1, x2, y2."""
        stride = image_width / sides.shape[-1]
        ys, xs = (torch.arange(n, device=sides.device) + 0.5 for n in sides.shape[-2:])
        centres = stride * torch.stack(torch.meshgrid(xs, ys, indexing="xy"))
        left_top, right_bottom = (stride * sides.exp()).chunk(2, dim=1)
        return torch.cat([centres - left_top, centres + right_bottom], dim=1)

    @torch.no_grad()
    def detect(self, images: Tensor, num_best: int = 100) -> list[dict[str, Tensor]]:
        """The best of each image in torchvision's form: boxes [n, 4], labels [n], scores [n]."""
        scores, boxes = [], []
        for logits, places in self(images):
            is_peak = logits == F.max_pool2d(logits, 3, stride=1, padding=1)
            scores.append((logits.sigmoid() * is_peak).flatten(2))
            boxes.append(places.flatten(2))
        all_scores, all_boxes = torch.cat(scores, 2), torch.cat(boxes, 2)  # [B, C, n], [B, 4, n]
        found = []
        for image_scores, image_boxes in zip(all_scores, all_boxes, strict=True):
            best, index = image_scores.flatten().topk(min(num_best, image_scores.numel()))
            place = index % image_scores.shape[1]
            found.append(
                {"boxes": image_boxes[:, place].T, "labels": index // image_scores.shape[1], "scores": best}
            )
        return found


def main(arguments: Sequence[str]) -> None:
    """Build it around a network and look at a picture of noise."""
    torch.manual_seed(0)
    backbone = TorchvisionBackbone(build_backbone(arguments[0] if arguments else "spinenet49s"))
    detector = Detector(backbone, num_classes=3).eval()
    (found,) = detector.detect(torch.rand(1, 3, 256, 256))
    print(f"{len(found['boxes'])} boxes, the best at {found['scores'][0]:.3f}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:  # bad input, which its one line explains
        sys.exit(str(error))
