"""An LSTM over the sequence of choices: each decision is sampled given all choices before it.

Shapes: N candidates, T decisions, C the most choices a decision has, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_INIT_RANGE = 0.1  # uniform, as in Zoph & Le (arXiv 1611.01578: 0.08)


class LstmPolicy(nn.Module):
    """Scores of the choices of each decision, in the space's order; before training all are 0.

    Args:
        num_choices: number of choices of each decision, length T.
        hidden_size: H.
        embedding_size: E.
        seed: of the initial weights; torch's global generator is neither read nor moved.

    Attributes:
        order: the positions of the decisions in the order in which they are made.
    """

    def __init__(
        self, num_choices: Sequence[int], *, hidden_size: int, embedding_size: int, seed: int
    ) -> None:
        super().__init__()
        num_decisions, max_choices = len(num_choices), max(num_choices)
        self.order: Sequence[int] = range(num_decisions)
        # Row 0 starts a sequence; every choice of every decision has a row of its own.
        offsets = torch.tensor([1, *num_choices]).cumsum(0)[:-1]
        self.register_buffer("offsets", offsets, persistent=False)
        self.offsets: Tensor
        with torch.random.fork_rng(devices=[]):  # modules draw a first initialisation of their own
            self.embedding = nn.Embedding(1 + sum(num_choices), embedding_size)
            self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        initialise(self, seed)
        # One softmax layer per decision; zero, so that an untrained policy prefers nothing.
        self.head_weight = nn.Parameter(torch.zeros(num_decisions, hidden_size, max_choices))
        self.head_bias = nn.Parameter(torch.zeros(num_decisions, max_choices))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of every choice of every decision, given the choices before it.

        Args:
            tokens: int64 [N, T].

        Returns:
            [N, T, C], of choices that are not allowed too.
        """
        fed = torch.cat([tokens.new_zeros(len(tokens), 1), (tokens + self.offsets)[:, :-1]], dim=1)
        hidden, _ = self.lstm(self.embedding(fed))
        return torch.einsum("nth,thc->ntc", hidden, self.head_weight) + self.head_bias

    def step(self, index: int, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores of the ``index``-th decision.

        Args:
            index: which of the order.
            tokens: int64 [N, T]; the choices of the decisions before it are set.
            state: what the last step returned; None at index 0.

        Returns:
            [N, C], and the state for the next step.
        """
        fed = tokens[:, index - 1] + self.offsets[index - 1] if index else tokens.new_zeros(len(tokens))
        hidden, state = self.lstm(self.embedding(fed)[:, None], state)
        return hidden[:, 0] @ self.head_weight[index] + self.head_bias[index], state


def initialise(module: nn.Module, seed: int) -> None:
    """Draw all parameters that a module has so far."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-_INIT_RANGE, _INIT_RANGE, generator=generator)
