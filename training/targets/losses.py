"""RetinaNet's losses with SpineNet's constants, and the classifier's.

Shapes: B images, A anchors, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.training.targets.matching import BACKGROUND

# The RetinaNet configuration that the authors of SpineNet released.
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 1.5
HUBER_DELTA = 0.1
BOX_LOSS_WEIGHT = 50.0
CODES_PER_BOX = 4


def focal_loss(
    logits: Tensor, classes: Tensor, *, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Sum, a scalar, of the sigmoid focal loss (arXiv 1708.02002) over all anchors and classes.

    With p the probability given to what is true (present or absent), each entry costs
    ``-weight * (1 - p) ** gamma * log(p)``, where weight is alpha for the present and 1 - alpha for the
    absent. All entries are counted as absent, and then one entry of each matched anchor is corrected: hardly
    anything is present, and no dense target of the logits' size is made.

    Args:
        logits: `[..., A, K]`.
        classes: `[..., A]`, in 0..K-1, or `BACKGROUND`.
        alpha: weight of the present class.
        gamma: how much the easy is discounted; 0 gives the weighted binary cross-entropy.
    """
    own = logits.gather(-1, classes.clamp(min=0).unsqueeze(-1)).squeeze(-1)  # [..., A], the present one's
    correction = alpha * _absent_cost(-own, gamma) - (1 - alpha) * _absent_cost(own, gamma)
    is_matched = classes != BACKGROUND
    return (1 - alpha) * _absent_cost(logits, gamma).sum() + torch.where(is_matched, correction, 0.0).sum()


def _absent_cost(logits: Tensor, gamma: float) -> Tensor:
    """What each logit costs, unweighted, where its class is absent; with -logits, where it is present."""
    cost: Tensor = _AbsentCost.apply(logits, gamma)  # type: ignore[no-untyped-call]
    return cost


class _AbsentCost(torch.autograd.Function):
    """``softplus(x) * sigmoid(x) ** gamma``; its gradient is made in the same pass, and all that is kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gamma: float) -> Tensor:
        cost = F.softplus(logits)  # -log(p), p the probability of being absent
        log_score = logits - cost  # log(sigmoid(x)) = x - softplus(x)
        discount = (log_score * gamma).exp_()  # (1 - p) ** gamma
        gradient = cost.neg().exp_().mul_(cost).mul_(gamma)  # p as such: 1 - score would lose its digits
        gradient.add_(log_score.exp_()).mul_(discount)
        ctx.save_for_backward(gradient)
        return cost.mul_(discount)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None


def classification_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """Mean cross-entropy over a batch, a float32 scalar.

    Args:
        logits: `[B, K]`.
        labels: `[B]`, in 0..K-1.
        label_smoothing: share of the truth that is spread evenly over all classes (arXiv 1512.00567).
    """
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def loss_weight(classes: Tensor) -> Tensor:
    """By what `detection_loss` divides, a scalar: the number of matched anchors plus one."""
    return (classes != BACKGROUND).sum() + 1.0


def detection_loss(cls_logits: Tensor, box_deltas: Tensor, classes: Tensor, codes: Tensor) -> Tensor:
    """Classification plus weighted box loss of a batch, a float32 scalar.

    Both are normalised by the number of matched anchors of the whole batch plus one, the box loss also by
    the four coordinates of a code, as in the authors' code.

    Args:
        cls_logits: `[B, A, K]`.
        box_deltas: `[B, A, 4]`, predicted codes (ty, tx, th, tw).
        classes: `[B, A]`, in 0..K-1, or `BACKGROUND`.
        codes: `[B, A, 4]`, true codes; those of background anchors do not count.
    """
    is_object = classes != BACKGROUND
    num_positives = loss_weight(classes)
    cls_loss = focal_loss(cls_logits.float(), classes) / num_positives
    errors = F.huber_loss(box_deltas.float(), codes, reduction="none", delta=HUBER_DELTA)
    box_loss = (errors * is_object.unsqueeze(-1)).sum() / (CODES_PER_BOX * num_positives)
    return cls_loss + BOX_LOSS_WEIGHT * box_loss
