"""Where a training's processes run: `TrainWorkers`, the section ``search`` of a training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainWorkers:
    """Which processes train together; the meaning of each field is in `conf/training_workers.yaml`.

    Raises:
        ValueError: one line that names ``search.<field>``, its value and the rule.
    """

    num_workers: int | None = None
    ray_address: str = "local"
    max_attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("num_workers", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"search.{name}: must be at least 1, got {value}")
        if self.num_workers is None and self.ray_address != "local":
            raise ValueError(
                f"search.ray_address: {self.ray_address} is used by the workers of a training only, and this "
                "has none; give search.num_workers=N"
            )
