"""The settings that strategies with a policy share, and their rules. Free of torch."""

from __future__ import annotations

import math
from typing import Protocol


class PolicySettings(Protocol):
    """As `ReinforceSettings` explains them."""

    @property
    def hidden_size(self) -> int:
        """Units of the LSTM."""

    @property
    def embedding_size(self) -> int:
        """Size of the vectors that it is fed."""

    @property
    def learning_rate(self) -> float:
        """Adam's step size."""

    @property
    def ent_coef(self) -> float:
        """Weight of the entropy bonus; the first where there is a target."""

    @property
    def entropy_target(self) -> float | None:
        """Share of the entropy of uniform sampling that the policy is kept at."""

    @property
    def baseline_decay(self) -> float:
        """Share of the old value that the baseline keeps."""

    @property
    def max_advantage(self) -> float | None:
        """Bound on a normalised advantage."""

    @property
    def max_grad_norm(self) -> float:
        """Bound on the norm of the gradient."""


def check_policy_settings(settings: PolicySettings) -> None:
    """Check the settings that all strategies with a policy share.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """
    for field in ("hidden_size", "embedding_size", "learning_rate", "max_grad_norm"):
        if not 0 < getattr(settings, field) < math.inf:
            raise ValueError(
                f"controller.{field}: must be positive and finite, got {getattr(settings, field)}"
            )
    if not 0 <= settings.ent_coef < math.inf:
        raise ValueError(f"controller.ent_coef: must be finite and not negative, got {settings.ent_coef}")
    if settings.entropy_target is not None and not 0 < settings.entropy_target <= 1:
        raise ValueError(
            f"controller.entropy_target: must be in (0, 1] or null, got {settings.entropy_target}"
        )
    if not 0 <= settings.baseline_decay < 1:
        raise ValueError(f"controller.baseline_decay: must be in [0, 1), got {settings.baseline_decay}")
    if settings.max_advantage is not None and not 0 < settings.max_advantage < math.inf:
        raise ValueError(
            f"controller.max_advantage: must be positive and finite or null, got {settings.max_advantage}"
        )
