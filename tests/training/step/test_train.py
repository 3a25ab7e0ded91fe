import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.input.augment import Batch, normalize
from spinesearch.training.step.divergence import TrainingDiverged
from spinesearch.training.step.train import recalibrate_batch_norm, train

SETTINGS = ProxySettings(num_steps=20, optimizer="adamw", lr=0.05, flip=False, device="cpu")
ANCHORS = torch.tensor([[0.0, 0.0, 64.0, 64.0], [64.0, 64.0, 128.0, 128.0]])


class OneCell(nn.Module):
    """Two anchors' worth of predictions from the mean colour, through batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, momentum=0.01)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(3, 2 * (1 + 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        out = self.linear(self.dropout(self.norm(images)).mean(dim=(2, 3))).view(-1, 2, 5)
        return out[..., :1], out[..., 1:]


def make_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[[5.0, 3.0, 60.0, 66.0]]]).repeat(4, 1, 1)
    return Batch(images, torch.full((4, 2), 128.0), boxes, torch.zeros(4, 1, dtype=torch.int64))


def run(model: nn.Module, settings: ProxySettings, losses: list[float]) -> float:
    return train(
        model,
        (make_batch(step) for step in range(20)),
        ANCHORS,
        settings.recipe(0),
        generator=torch.Generator().manual_seed(0),
        on_step=lambda step, loss: losses.append(loss),
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_learns_and_reports_the_last_tenth(optimizer: str) -> None:
    torch.manual_seed(0)
    losses: list[float] = []
    settings = ProxySettings(num_steps=20, optimizer=optimizer, lr=0.03, adam_lr=0.03, flip=False)
    loss = run(OneCell(), settings, losses)
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    assert loss == pytest.approx((losses[-1] + losses[-2]) / 2)


def test_divergence_names_its_step_and_survives_pickling() -> None:
    class Poisoned(OneCell):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            logits, deltas = super().forward(images)
            return logits, deltas * (float("nan") if len(losses) == 5 else 1.0)

    losses: list[float] = []
    with pytest.raises(TrainingDiverged, match="not finite at step 5") as caught:
        run(Poisoned(), SETTINGS, losses)
    assert len(losses) == 5
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.step, str(copy)) == (5, str(caught.value))


def test_recalibration_is_the_plain_average_over_batches() -> None:
    model = OneCell()
    model.norm.running_mean.fill_(100.0)  # what training left behind must not show
    model.norm.num_batches_tracked.fill_(100)
    batches = [make_batch(seed) for seed in range(5)]
    recalibrate_batch_norm(model, batches, torch.empty(0, 4), SETTINGS.recipe(1))
    images = [normalize(batch).images for batch in batches]
    mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in images]).mean(dim=0)
    variance = torch.stack([x.var(dim=(0, 2, 3)) for x in images]).mean(dim=0)
    assert_close(model.norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert_close(model.norm.running_var, variance, rtol=1e-4, atol=1e-5)
    assert model.norm.momentum == 0.01
    assert not any(module.training for module in model.modules())
