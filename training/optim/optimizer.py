"""The optimiser of a training and the schedule of its learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.training.optim.muon import Muon
from spinesearch.training.recipe import Recipe

# What no normalisation follows: its length is the size of the logits and codes, which Muon would make huge in
# a few steps.
PREDICTION_KERNEL = "predict.weight"

STEP_DECAY = 0.1  # section 5.1 of the SpineNet paper: the rate falls tenfold at each milestone


class FlatOptimizer:
    """SGD with momentum, AdamW or Muon on a model whose parameters it moves into a few large tensors.

    A narrow SpineNet has some six hundred small parameters; clipping and updating them together takes a
    tenth of the time. Kernels get weight decay; biases and batch normalisation, which have one dimension
    each, do not. SGD's is the gradient of a term of the loss, as in the authors' code, and clipped with the
    rest; that of AdamW and Muon is decoupled. Muon takes the kernels that batch normalisation follows, a
    stack for each shape, and leaves the rest to AdamW.

    On CUDA everything that changes from step to step lies on the device, the learning rate too: a step reads
    nothing back, and can be captured in a graph and replayed under another rate.

    Args:
        model: on its final device; its parameters that are trained (``requires_grad``) become views.
        recipe: its optimiser, rates, decay and clipping.
        is_capturable: whether to work as on CUDA; None for where the model is on CUDA.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, is_capturable: bool | None = None) -> None:
        is_muon, is_sgd = recipe.optimizer == "muon", recipe.optimizer == "sgd"
        stacked: dict[tuple[int, int], list[nn.Parameter]] = {}
        kernels, others = [], []
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue
            if p.ndim == 1:
                others.append(p)
            elif is_muon and not name.endswith(PREDICTION_KERNEL):
                stacked.setdefault((p.shape[0], p[0].numel()), []).append(p)
            else:
                kernels.append(p)
        stacks = [(_join(group, (-1, *shape)), group) for shape, group in stacked.items()]
        vectors = [(_join(group, (-1,)), group) for group in (kernels, others) if group]
        self._joined = stacks + vectors
        self._clip_norm = recipe.clip_norm
        self._muon = Muon(
            [stack for stack, _ in stacks], momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        # AdamW beside Muon has its own learning rate, which follows the same schedule.
        self._lr_ratio = recipe.adam_lr / recipe.lr if is_muon else 1.0
        self._loss_decay = recipe.weight_decay if is_sgd else 0.0
        self._decayed = [vector for vector, group in vectors if group is kernels]
        groups = [
            {"params": [vector], "weight_decay": 0.0 if is_sgd or group is others else recipe.weight_decay}
            for vector, group in vectors
        ]
        device = self._joined[0][0].device
        if is_capturable is None:
            is_capturable = device.type == "cuda"
        self._elementwise: torch.optim.Optimizer
        # None leaves the choice of implementation to torch, as `fused=False` would not.
        fused = is_capturable or None
        if is_sgd:  # which has no `capturable`: it keeps no count of its steps
            self._elementwise = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
        else:
            self._elementwise = torch.optim.AdamW(groups, lr=recipe.lr, fused=fused, capturable=is_capturable)
        self._lr: float | Tensor = recipe.lr
        if is_capturable:
            self._lr = torch.full((), recipe.lr, device=device)
            companion_lr = torch.full((), recipe.lr * self._lr_ratio, device=device)
            for options in self._elementwise.param_groups:
                options["lr"] = companion_lr

    def set_lr(self, lr: float) -> None:
        """Learning rate of the steps from here on, on CUDA also of replayed ones."""
        if isinstance(self._lr, Tensor):
            self._lr.fill_(lr)
        else:
            self._lr = lr
        for options in self._elementwise.param_groups:
            if isinstance(options["lr"], Tensor):
                options["lr"].fill_(lr * self._lr_ratio)
            else:
                options["lr"] = lr * self._lr_ratio

    def state_dict(self) -> dict[str, Any]:
        """What steps depend on besides the model and the learning rate; a copy, in plain data and tensors."""
        state = {
            "muon": self._muon.averages,
            "elementwise": self._elementwise.state_dict()["state"],
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of an equal model and recipe, on any device."""
        for average, saved in zip(self._muon.averages, state["muon"], strict=True):
            average.copy_(saved)
        # The options are kept: the learning rate among them may be a tensor that steps read.
        groups = self._elementwise.state_dict()["param_groups"]
        rates = [options["lr"] for options in self._elementwise.param_groups]
        self._elementwise.load_state_dict({"state": state["elementwise"], "param_groups": groups})
        for options, rate in zip(self._elementwise.param_groups, rates, strict=True):
            options["lr"] = rate

    def cast_kernels(self, dtype: torch.dtype) -> dict[int, Tensor]:
        """The kernels in another dtype, by their parameter's ``id``, all of them parts of a few large casts.

        The gradient of a loss computed from them goes to the next `step` by itself; what is computed from the
        parameters goes there by their own gradients, as ever.
        """
        cast: dict[int, Tensor] = {}
        for joined, group in self._joined:
            if group[0].ndim > 1:
                parts = zip(group, _parts(joined.to(dtype), group), strict=True)
                cast.update((id(p), _as_kernel(part, p)) for p, part in parts)
        return cast

    def step(self, combine: Callable[[list[Tensor]], None] | None = None) -> Tensor:
        """Take one step down the gradients, which are gone then; returns their global norm unclipped.

        The norm is that of the gradient of all that is minimised, with SGD's weight decay in it.

        Args:
            combine: called with the loss's gradients in a few large tensors, which it may change in place, as
                where they are summed over several processes.
        """
        for joined, group in self._joined:
            if joined.grad is None:
                # What no output depends on has no gradient; zeros leave it where it is, or let it decay.
                grads = (torch.zeros_like(p) if p.grad is None else p.grad for p in group)
                joined.grad = torch.cat([_flat(grad) for grad in grads]).view_as(joined)
            else:  # of `cast_kernels`
                for p, part in zip(group, _parts(joined.grad, group), strict=True):
                    if p.grad is not None:
                        part.add_(_flat(p.grad))
            for p in group:
                p.grad = None
        if combine is not None:
            combine([joined.grad for joined, _ in self._joined if joined.grad is not None])
        if self._loss_decay:
            for vector in self._decayed:
                assert vector.grad is not None
                vector.grad.add_(vector.detach(), alpha=self._loss_decay)
        norm = nn.utils.clip_grad_norm_([joined for joined, _ in self._joined], self._clip_norm)
        self._muon.step(self._lr)
        self._elementwise.step()
        for joined, _ in self._joined:
            joined.grad = None
        return norm


def learning_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of this step, 0 <= step < recipe.num_steps.

    Warm-up rises linearly and reaches ``lr`` at step ``warmup_steps - 1``. The cosine falls from ``lr``
    after warm-up towards zero just past the last step; the step schedule counts its fractions over the whole
    training, warm-up included. The constant rate's last part falls from ``lr`` towards zero like the cosine,
    in a straight line.
    """
    warmup = recipe.warmup_steps
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "step":
        passed = sum(step >= fraction * recipe.num_steps for fraction in recipe.decay_at)
        return recipe.lr * STEP_DECAY**passed
    if recipe.schedule == "constant_decay":
        begin = num_constant_steps(recipe)
        return recipe.lr * min(1.0, (recipe.num_steps - step) / (recipe.num_steps - begin))
    progress = (step - warmup) / max(recipe.num_steps - warmup, 1)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


def num_constant_steps(recipe: Recipe) -> int:
    """Steps of the schedule constant_decay before its rate falls; a longer training begins with the same."""
    return int(recipe.decay_at[0] * recipe.num_steps)


def _join(parameters: Sequence[nn.Parameter], shape: tuple[int, ...]) -> nn.Parameter:
    """All these parameters as one of this shape, of which they become views; kernels lie channels last."""
    joined = nn.Parameter(torch.cat([_flat(p.detach()) for p in parameters]).view(shape))
    for p, part in zip(parameters, _parts(joined.detach(), parameters), strict=True):
        p.data = _as_kernel(part, p)
    return joined


def _parts(joined: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, ...]:
    """The values of each parameter, in one row, of all of them as `_join` has them."""
    return torch.split(joined.view(-1), [p.numel() for p in parameters])


def _as_kernel(row: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_flat`: values in one row as the tensor of another's shape."""
    if like.ndim != 4:
        return row.view_as(like)
    out, channels, height, width = like.shape
    return row.view(out, height, width, channels).permute(0, 3, 1, 2)


def _flat(tensor: Tensor) -> Tensor:
    """All its values in one row; a kernel's channel by channel within each pixel, as its gradient comes."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)
