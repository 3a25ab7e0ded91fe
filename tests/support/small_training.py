"""A training of a few steps on a network of four layers, by `training.step.train`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.layers import StochasticDepth
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.input.augment import Batch
from spinesearch.training.step.train import train

CPU = torch.device("cpu")
NUM_STEPS = 9
SETTINGS = ProxySettings(
    num_steps=NUM_STEPS,
    optimizer="muon",
    lr=0.05,
    weight_decay=0.01,
    warmup_steps=3,
    scale_jitter=(0.8, 1.2),
    fused="off",  # as on CUDA without Triton: the CPU's own form of the targets cannot be captured
)
ANCHORS = make_anchors(128, num_scales=1, base_anchor=3.0)


class Cells(nn.Module):
    """As many predictions as there are anchors, from a strided convolution; all kinds of state there are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, stride=8, bias=False)
        self.norm = nn.BatchNorm2d(6, momentum=0.1)
        self.drop = StochasticDepth(0.5)
        self.predict = nn.Conv2d(6, 12, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        out = self.predict(self.drop(self.norm(self.conv(images))).relu())
        rows = out.flatten(2).mT.reshape(len(images), -1, 3)
        rows = rows.repeat(1, -(-len(ANCHORS) // rows.shape[1]), 1)[:, : len(ANCHORS)]
        return rows, torch.cat([rows, rows[..., :1]], dim=-1)


def make_batches(nums_boxes: list[int]) -> list[Batch]:
    """Three images each, of which one has so many boxes and the others fewer."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for most in nums_boxes:
        images = torch.randint(0, 256, (3, 128, 128, 3), dtype=torch.uint8, generator=generator)
        corners = 128 * torch.rand(3, most, 2, 2, generator=generator).sort(dim=2).values
        labels = torch.randint(0, 3, (3, most), generator=generator)
        labels[1, most // 2 :] = -1
        boxes = torch.where((labels >= 0)[..., None], corners.flatten(2), 0.0)
        batch = Batch(images.permute(0, 3, 1, 2), torch.tensor([[128.0, 96.0]] * 3), boxes, labels)
        batches.append(batch)
    return batches


FEW, MIXED = [3, 1, 2, 5, 4, 3, 8, 0, 7], [3, 9, 4, 12, 2, 16, 1, 11, 6]


def run(
    settings: ProxySettings = SETTINGS,
    session: object = None,
    *,
    boxes: list[int] = FEW,
    model: nn.Module | None = None,
    laps: list[str] | None = None,
) -> tuple[list[float], dict[str, Tensor]]:
    """Every step's loss, and all of the model after training."""
    torch.manual_seed(1)
    model = model or Cells()
    losses: list[float] = []
    train(
        model,
        make_batches(boxes),
        ANCHORS,
        replace(settings, num_steps=len(boxes)).recipe(0),
        generator=torch.Generator().manual_seed(2),
        on_step=lambda step, loss: losses.append(loss),
        session=session,  # type: ignore[arg-type]
        **({} if laps is None else {"lap": laps.append}),
    )
    assert len(losses) == len(boxes)
    return losses, {key: value.detach() for key, value in model.state_dict().items()}


def assert_same(
    one: tuple[list[float], dict[str, Tensor]], other: tuple[list[float], dict[str, Tensor]]
) -> None:
    """To the last bit."""
    assert one[0] == other[0]
    for key, value in one[1].items():
        assert torch.equal(value, other[1][key]), key
