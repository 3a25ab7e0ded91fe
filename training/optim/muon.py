"""Muon: momentum whose every matrix is made orthogonal before it is applied.

K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon/). A kernel in front of batch normalisation has a direction and no
length, and an orthogonal update turns all its directions alike; so the learning rate is the relative change
of a fresh kernel per step. docs/reward-noise.md has what it gives beside AdamW and SGD in a short training.

Shapes: N matrices of one shape, R rows (output channels), C columns (input channels times kernel area).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Coefficients of the quintic iteration, from the reference implementation; five iterations there, whose aim
# is singular values within [0.7, 1.2] rather than equal to 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """The matrices `[N, R, C]` with their singular values near 1 and their singular vectors kept."""
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices  # the smaller Gram matrix is the cheaper one
    norms = torch.linalg.matrix_norm(x, keepdim=True)
    x = x / norms.clamp(min=1e-7)  # no singular value above 1; zero stays zero
    a, b, c = QUINTIC
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


class Muon:
    """Nesterov momentum, orthogonalised, on stacks of matrices.

    Args:
        stacks: each `[N, R, C]`, updated in place from its ``.grad``.
        momentum: share of the running average in the next.
        weight_decay: decoupled, as in AdamW.

    Attributes:
        averages: the running averages of the stacks' gradients, in place: all that a step remembers.
    """

    def __init__(self, stacks: Sequence[Tensor], *, momentum: float, weight_decay: float) -> None:
        self._stacks = stacks
        self._momentum = momentum
        self._weight_decay = weight_decay
        self.averages = [torch.zeros_like(stack) for stack in stacks]

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """Take one step; every stack has a gradient. A rate in a tensor on the device stays there, unread."""
        for stack, average in zip(self._stacks, self.averages, strict=True):
            assert stack.grad is not None
            average.lerp_(stack.grad, 1 - self._momentum)
            update = orthogonalize(stack.grad.lerp(average, self._momentum))
            rows, columns = stack.shape[-2:]
            # An orthogonal R x C matrix has norm sqrt(min(R, C)), a fresh kernel sqrt(R): the factor, which
            # is the reference implementation's, makes their ratio 1 for every shape.
            factor = max(1.0, rows / columns) ** 0.5
            stack.mul_(1 - lr * self._weight_decay)
            if isinstance(lr, Tensor):
                stack.addcmul_(update, lr * factor, value=-1)
            else:
                stack.add_(update, alpha=-lr * factor)
