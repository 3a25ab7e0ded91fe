import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from spinesearch.models.heads.retinanet import RetinaNetHead
from spinesearch.training.targets.losses import detection_loss, focal_loss
from spinesearch.training.targets.matching import BACKGROUND


def random_case(*, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, 50, 7, generator=generator, dtype=torch.float64)
    classes = torch.randint(BACKGROUND, 7, (3, 50), generator=generator)
    return logits.requires_grad_(), classes


def present(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    return F.one_hot(classes + 1, num_classes + 1)[..., 1:].double()


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_gamma_zero_is_weighted_cross_entropy_in_value_and_gradient(alpha: float) -> None:
    logits, classes = random_case(seed=0)
    truth = present(classes, 7)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    bce = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    focal = focal_loss(logits, classes, alpha=alpha, gamma=0.0)
    assert_close(focal, bce)
    assert_close(torch.autograd.grad(focal, logits)[0], torch.autograd.grad(bce, logits)[0])


def test_is_the_formula_of_the_paper() -> None:
    logits, classes = random_case(seed=1)
    truth = present(classes, 7)
    p = logits.sigmoid()
    p_t = p * truth + (1 - p) * (1 - truth)
    alpha_t = 0.25 * truth + 0.75 * (1 - truth)
    assert_close(focal_loss(logits, classes), (-alpha_t * (1 - p_t) ** 1.5 * p_t.log()).sum())
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, classes), logits)


def test_float32_is_close_to_the_plain_form_in_float64() -> None:
    """From sure and wrong to sure and right, matched anchors none, few and all, in value and gradient.

    What a sure present class cost as absent is taken back: up to 20, with a slope of 0.75.
    """
    generator = torch.Generator().manual_seed(2)
    for share in (0.0, 0.02, 1.0):
        logits = (6 * torch.randn(4, 300, 20, generator=generator)).requires_grad_()
        classes = torch.randint(20, (4, 300), generator=generator)
        classes = torch.where(torch.rand(4, 300, generator=generator) < share, classes, BACKGROUND)
        exact = logits.detach().double().requires_grad_()
        truth = present(classes, 20).bool()
        log_p = F.logsigmoid(torch.where(truth, exact, -exact))
        plain = -(torch.where(truth, 0.25, 0.75) * (-torch.expm1(log_p)) ** 1.5 * log_p).sum()
        loss = focal_loss(logits, classes)
        assert_close(loss.double(), plain, rtol=1e-5, atol=0)
        (found,), (expected,) = torch.autograd.grad(loss, logits), torch.autograd.grad(plain, exact)
        assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_typed_out_values() -> None:
    # One anchor of class 1 of 2 at logit 0: (1 - p_t) ** 1.5 = 0.353553 and -log(p_t) = 0.693147 throughout.
    value = focal_loss(torch.zeros(1, 2), torch.tensor([1]))
    assert_close(value, torch.tensor((0.75 + 0.25) * 0.35355339 * 0.69314718))


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]))
    assert_close(loss, torch.tensor(0.25 * 1e4 + 0.75 * 1e4))  # both entries of the second row are wrong
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_huber_typed_out_in_value_and_gradient() -> None:
    """Delta 0.1: half the square up to it, then 0.1 * (|error| - 0.05); weight 50, over 4 and (1 + 1)."""
    table = {  # error: (value, slope)
        0.0: (0.0, 0.0),
        0.02: (0.0002, 0.02),
        -0.05: (0.00125, -0.05),
        0.1: (0.005, 0.1),
        0.3: (0.025, 0.1),
        -0.3: (0.025, -0.1),
        10.0: (0.995, 0.1),
    }
    classes = torch.tensor([[0]])
    present = torch.full((1, 1, 1), 100.0, dtype=torch.float64)  # sure and right: costs nothing
    code = torch.tensor([[[0.3, -0.2, 0.1, 0.7]]])
    for place in range(4):
        for error, (value, slope) in table.items():
            deltas = code.clone()
            deltas[..., place] += error
            deltas.requires_grad_()
            loss = detection_loss(present, deltas, classes, code)
            assert float(loss.detach()) == pytest.approx(50 * value / (4 * 2), abs=2e-6)
            (gradient,) = torch.autograd.grad(loss, deltas)
            expected = torch.zeros(4)
            expected[place] = 50 * slope / (4 * 2)
            assert_close(gradient[0, 0], expected, rtol=0, atol=5e-6)


def test_a_new_head_is_sure_of_nothing() -> None:
    """The class bias is -log(99): every score is one in a hundred, and every logit costs what that costs."""
    head = RetinaNetHead(8, num_classes=2, num_anchors=3, num_convs=0, num_filters=8)
    bias = head.cls_net.predict.bias
    assert_close(bias, torch.full_like(bias, -4.59511985))
    loss = detection_loss(
        bias.view(1, 3, 2), torch.zeros(1, 3, 4), torch.full((1, 3), BACKGROUND), torch.zeros(1, 3, 4)
    )
    # 6 absent classes: 0.75 * 0.01 ** 1.5 * -log(0.99) each, over 0 + 1.
    assert_close(loss.detach(), torch.tensor(6 * 0.75 * 0.001 * 0.01005034))


def test_detection_loss_normalises_over_the_batch() -> None:
    classes = torch.tensor([[0, BACKGROUND, BACKGROUND], [1, 0, BACKGROUND]])
    logits = torch.full(
        (2, 3, 2), -100.0
    )  # nothing predicted: the absent cost nothing, the present 0.25 * 100 each
    codes = torch.zeros(2, 3, 4)
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0] = torch.tensor([0.05, -0.05, 0.3, 0.0])
    deltas[0, 1] = 100.0  # background: does not count
    num_positives = 3 + 1
    cls = 3 * 0.25 * 100 / num_positives
    huber = 2 * 0.5 * 0.05**2 + 0.1 * (0.3 - 0.05)
    expected = cls + 50 * huber / (4 * num_positives)
    assert_close(detection_loss(logits, deltas, classes, codes), torch.tensor(expected))


def test_a_batch_without_objects_has_a_loss() -> None:
    loss = detection_loss(
        torch.zeros(1, 4, 3), torch.ones(1, 4, 4), torch.full((1, 4), BACKGROUND), torch.zeros(1, 4, 4)
    )
    assert_close(loss, torch.tensor(12 * 0.75 * 0.5**1.5 * math.log(2)))
