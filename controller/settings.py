"""Settings of the strategies, as `conf/controller` gives them. Free of torch, for a quick command line."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSettings:
    """Uniform random search: nothing to set."""

    name: str = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforceSettings:
    """REINFORCE with an LSTM policy.

    Attributes:
        name: what `conf/controller` calls it.
        hidden_size: units of the LSTM.
        embedding_size: size of the vector that a choice is fed back as.
        learning_rate: Adam's step size.
        ent_coef: weight of the entropy bonus (nats per decision) against the normalised advantage.
        baseline_decay: share of the old value that the moving-average baseline keeps at an update.
        max_importance_ratio: bound on the weight of a candidate that a later policy finds likelier than the
            one that sampled it (truncated importance sampling, Ionides 2008).
        max_grad_norm: bound on the norm of the policy's gradient.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "reinforce"
    hidden_size: int = 64
    embedding_size: int = 32
    learning_rate: float = 5e-3
    ent_coef: float = 0.01
    baseline_decay: float = 0.9
    max_importance_ratio: float = 2.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for field in ("hidden_size", "embedding_size", "learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(
                    f"controller.{field}: must be positive and finite, got {getattr(self, field)}"
                )
        if not 0 <= self.ent_coef < math.inf:
            raise ValueError(f"controller.ent_coef: must be finite and not negative, got {self.ent_coef}")
        if not 0 <= self.baseline_decay < 1:
            raise ValueError(f"controller.baseline_decay: must be in [0, 1), got {self.baseline_decay}")
        if not 1 <= self.max_importance_ratio < math.inf:
            raise ValueError(
                "controller.max_importance_ratio: must be finite and at least 1, "
                f"got {self.max_importance_ratio}"
            )
