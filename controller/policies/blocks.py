"""An LSTM that decides block by block and points at the blocks a block takes its input from.

Level, offset, type and parents of a block are decided together, and what one block teaches serves all others:
the scores of a kind of decision are the same function of the LSTM's state everywhere. A parent's score is the
product of that state with the parent's own, which the LSTM had when it had decided the parent (a pointer
network, Vinyals et al., arXiv 1506.03134).

Shapes: N candidates, T decisions, C the most choices a decision has, E embedding size,
H hidden size, B blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.controller.policies.lstm import initialise
from spinesearch.controller.protocol import Decision

_PARENT_KINDS = ("nearer parent", "farther parent")


class BlockPolicy(nn.Module):
    """Scores of the choices of each decision, block by block; before training all are 0.

    Args:
        decisions: of the space, in its order; length T.
        hidden_size: H.
        embedding_size: E.
        seed: of the initial weights; torch's global generator is neither read nor moved.

    Attributes:
        order: the positions of the decisions in the order in which they are made.
    """

    def __init__(
        self, decisions: Sequence[Decision], *, hidden_size: int, embedding_size: int, seed: int
    ) -> None:
        super().__init__()
        blocks = sorted({decision.block for decision in decisions})
        kinds = sorted({decision.kind for decision in decisions} - set(_PARENT_KINDS))
        # Within a block parents come last: at the levels that they suit.
        self.order: Sequence[int] = sorted(
            range(len(decisions)),
            key=lambda t: (decisions[t].block, decisions[t].kind in _PARENT_KINDS, t),
        )
        self._decisions = [decisions[t] for t in self.order]  # in the order in which they are made
        self._first_block = blocks[0]  # those before it are the stem's
        self._max_choices = max(decision.num_choices for decision in decisions)
        # The step at which the LSTM has seen all of a block: the first of the next one.
        firsts = [index for index, d in enumerate(self._decisions) if d.block != self._block(index - 1)]
        self._complete_at = firsts[1:]
        with torch.random.fork_rng(devices=[]):  # modules draw a first initialisation of their own
            all_kinds = [*kinds, *_PARENT_KINDS]
            self.choices = nn.Embedding(1 + len(all_kinds) * self._max_choices, embedding_size)
            self.kinds = nn.Embedding(len(all_kinds), embedding_size)
            self.blocks = nn.Embedding(len(blocks), embedding_size)
            self.stem = nn.Embedding(max(1, self._first_block), hidden_size)
            self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        initialise(self, seed)
        self._kind_rows = [all_kinds.index(d.kind) for d in self._decisions]
        self._block_rows = [blocks.index(d.block) for d in self._decisions]
        # Zero, so that an untrained policy prefers nothing.
        self.heads = nn.Parameter(torch.zeros(len(all_kinds), hidden_size, self._max_choices))
        self.pointers = nn.Parameter(torch.zeros(len(all_kinds), hidden_size, hidden_size))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of every choice of every decision, given those made before it.

        Args:
            tokens: int64 [N, T], in the space's order.

        Returns:
            [N, T, C] in the space's order, of choices that are not allowed too.
        """
        fed = torch.stack([self._fed(index, tokens) for index in range(len(self.order))], dim=1)
        hidden, _ = self.lstm(fed)
        stem = self._stem_states(len(tokens))
        states = torch.cat([stem, hidden[:, self._complete_at]], dim=1)  # [N, B, H]
        scores = [
            self._scores(index, hidden[:, index], states[:, : self._decisions[index].block])
            for index in range(len(self.order))
        ]
        made = torch.stack([nn.functional.pad(s, (0, self._max_choices - s.shape[1])) for s in scores], 1)
        positions = torch.tensor(self.order).argsort()
        return made[:, positions]

    def step(self, index: int, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores of the ``index``-th decision in `order`.

        Args:
            index: which of the order.
            tokens: int64 [N, T]; the choices of the decisions before it are set.
            state: what the last step returned; None at index 0.

        Returns:
            [N, C] of its own choices, and the state for the next step.
        """
        lstm_state, states = (None, self._stem_states(len(tokens))) if state is None else state
        hidden, lstm_state = self.lstm(self._fed(index, tokens)[:, None], lstm_state)
        if index in self._complete_at:
            states = torch.cat([states, hidden], dim=1)
        return self._scores(index, hidden[:, 0], states), (lstm_state, states)

    def _fed(self, index: int, tokens: Tensor) -> Tensor:
        """The LSTM's input before a decision: the last choice, what it is to decide, and where."""
        if index:
            row = 1 + self._kind_rows[index - 1] * self._max_choices
            last = self.choices.weight[row + tokens[:, self.order[index - 1]]]
        else:
            last = self.choices.weight[:1].expand(len(tokens), -1)
        return last + self.kinds.weight[self._kind_rows[index]] + self.blocks.weight[self._block_rows[index]]

    def _scores(self, index: int, hidden: Tensor, states: Tensor) -> Tensor:
        """Scores [N, C] of a decision's choices from the LSTM's state and those of the blocks before."""
        decision, kind = self._decisions[index], self._kind_rows[index]
        scores = hidden @ self.heads[kind][:, : decision.num_choices]
        if decision.kind in _PARENT_KINDS:  # choice c is the block c + 1 before this one
            nearest_first = states.flip(1)[:, : decision.num_choices]
            query = hidden @ self.pointers[kind] / math.sqrt(hidden.shape[1])
            scores = scores + (nearest_first @ query[:, :, None])[:, :, 0]
        return scores

    def _stem_states(self, count: int) -> Tensor:
        return self.stem.weight[: self._first_block].expand(count, -1, -1)

    def _block(self, index: int) -> int | None:
        return self._decisions[index].block if index >= 0 else None
