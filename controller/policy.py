"""An LSTM over the sequence of choices: each decision is sampled given all choices before it.

Shapes: N candidates, T decisions, C the most choices a decision has, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_INIT_RANGE = 0.1  # uniform, as in Zoph & Le (arXiv 1611.01578: 0.08)

LstmState = tuple[Tensor, Tensor]


class LstmPolicy(nn.Module):
    """Masked distribution over the choices of each decision; before training uniform over those allowed.

    Args:
        num_choices: number of choices of each decision, length T.
        hidden_size: H.
        embedding_size: E.
        seed: of the initial weights; torch's global generator is neither read nor moved.
    """

    def __init__(
        self, num_choices: Sequence[int], *, hidden_size: int, embedding_size: int, seed: int
    ) -> None:
        super().__init__()
        num_decisions, max_choices = len(num_choices), max(num_choices)
        # Row 0 starts a sequence; every choice of every decision has a row of its own.
        offsets = torch.tensor([1, *num_choices]).cumsum(0)[:-1]
        self.register_buffer("offsets", offsets, persistent=False)
        self.offsets: Tensor
        with torch.random.fork_rng(devices=[]):  # modules draw a first initialisation of their own
            self.embedding = nn.Embedding(1 + sum(num_choices), embedding_size)
            self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-_INIT_RANGE, _INIT_RANGE, generator=generator)
        # One softmax layer per decision; zero, so that an untrained policy prefers nothing.
        self.head_weight = nn.Parameter(torch.zeros(num_decisions, hidden_size, max_choices))
        self.head_bias = nn.Parameter(torch.zeros(num_decisions, max_choices))

    def forward(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """Log-probabilities of every choice of every decision, given the choices before it.

        Args:
            tokens: int64 [N, T].
            masks: bool [N, T, C], True where a choice is allowed.

        Returns:
            [N, T, C]; -inf where not allowed.
        """
        fed = torch.cat([tokens.new_zeros(len(tokens), 1), (tokens + self.offsets)[:, :-1]], dim=1)
        hidden, _ = self.lstm(self.embedding(fed))
        logits = torch.einsum("nth,thc->ntc", hidden, self.head_weight) + self.head_bias
        return torch.log_softmax(logits.masked_fill(~masks, -torch.inf), dim=-1)

    def step(self, decision: int, previous: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        """Logits of one decision, before masking.

        Args:
            decision: its position, from 0.
            previous: int64 [N], the choices of the decision before it; ignored at decision 0.
            state: what the last step returned; None at decision 0.

        Returns:
            logits [N, C], and the state for the next step.
        """
        fed = previous + self.offsets[decision - 1] if decision else torch.zeros_like(previous)
        hidden, state = self.lstm(self.embedding(fed)[:, None], state)
        return hidden[:, 0] @ self.head_weight[decision] + self.head_bias[decision], state
