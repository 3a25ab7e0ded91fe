"""What something takes, from how many trainings it is and how long one lasts: `Estimate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# What the authors' later cloud product, Google Cloud's Neural Architecture Search, gave as the price of its
# SpineNet search at 512 px (conf/experiment/cloud.yaml has its settings).
PUBLISHED_CANDIDATES = 1000
PUBLISHED_GPU_HOURS = 5000.0
PUBLISHED_DOLLARS = 22_000.0
# SpineNet-49 by protocol B on COCO: a port to mmdetection took 4 days and 2 hours on 8 V100.
PUBLISHED_TRAINING_HOURS = 784.0
_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Trainings of one kind, or steps of one training.

    Attributes:
        name: what they are.
        count: how many; the mean where that depends on chance.
        seconds: of one, on one worker.
        at_once: the most that can run at a time; None for any number, each of which may also be shared by
            several workers, as steps are by the processes of a training.
        waits: whether each group of so many must end before the next begins.
    """

    name: str
    count: float
    seconds: float
    at_once: int | None = None
    waits: bool = False

    @property
    def total_s(self) -> float:
        """Seconds of one worker that did all of it."""
        return self.count * self.seconds

    def wall_s(self, num_workers: int) -> float:
        """Seconds with so many equally fast workers."""
        if self.at_once is None:
            return self.total_s / num_workers
        if self.waits:
            return self.count / self.at_once * math.ceil(self.at_once / num_workers) * self.seconds
        return math.ceil(self.count / min(num_workers, self.at_once)) * self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Stated:
    """What somebody knows of a worker, in place of measuring it.

    Attributes:
        seconds: of a whole candidate's training, evaluation included, or of a step of a long training; None
            to measure.
        duplicates: share of candidates that are the network of an earlier one; None if not known.
        num_steps: that are measured.
    """

    seconds: float | None = None
    duplicates: float | None = None
    num_steps: int = 5


def stated_gpus_note(gpus_per_worker: float, setting: str) -> str:
    """What a stated pace takes for granted: whether the worker that has it has a GPU cannot be seen here.

    Args:
        gpus_per_worker: that it is counted with, above 0.
        setting: by which it has none, ``search.gpus_per_trial=0``.
    """
    return f"a worker of the stated pace occupies {gpus_per_worker:g} GPU; {setting} counts none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What an hour costs, as somebody stated it.

    Attributes:
        price_per_gpu_hour: in any currency; None if not stated.
        watts: what one worker draws, its share of the machine included; None if not stated.
    """

    price_per_gpu_hour: float | None = None
    watts: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a search or training takes.

    Attributes:
        what: it is, in a line.
        parts: of it, one after the other.
        pace: what the durations are from, in a line.
        gpus_per_worker: GPUs that a worker occupies; 0 for processors alone.
        notes: what was taken for granted.
        num_candidates: of a search; None for a training.
    """

    what: str
    parts: tuple[Part, ...]
    pace: str
    gpus_per_worker: float = 0.0
    notes: tuple[str, ...] = ()
    num_candidates: int | None = None

    @property
    def worker_hours(self) -> float:
        """Hours of one worker that did all of it."""
        return sum(part.total_s for part in self.parts) / _HOUR_S

    @property
    def gpu_hours(self) -> float | None:
        """The same of one GPU; None without."""
        return self.worker_hours * self.gpus_per_worker if self.gpus_per_worker else None

    def wall_s(self, num_workers: int) -> float:
        """Seconds from beginning to end with so many workers."""
        return sum(part.wall_s(num_workers) for part in self.parts)

    def price(self, rates: Rates) -> float | None:
        """Of the GPU-hours."""
        if rates.price_per_gpu_hour is None or self.gpu_hours is None:
            return None
        return self.gpu_hours * rates.price_per_gpu_hour

    def energy_kwh(self, rates: Rates) -> float | None:
        """Of the worker-hours."""
        return None if rates.watts is None else self.worker_hours * rates.watts / 1e3

    def to_dict(self, rates: Rates, workers: Sequence[int]) -> dict[str, Any]:
        """Plain data."""
        return {
            "what": self.what,
            "parts": [{**asdict(part), "hours": part.total_s / _HOUR_S} for part in self.parts],
            "pace": self.pace,
            "worker_hours": self.worker_hours,
            "gpu_hours": self.gpu_hours,
            "wall_hours": {str(n): self.wall_s(n) / _HOUR_S for n in workers},
            "price": self.price(rates),
            "energy_kwh": self.energy_kwh(rates),
            "rates": asdict(rates),
            "published": self.published(),
            "notes": list(self.notes),
        }

    def published(self) -> dict[str, Any]:
        """What others have published of their hours: of a search also what this many candidates come to."""
        if self.num_candidates is None:
            return {
                "training": "SpineNet-49 by protocol B on COCO",
                "v100_hours": PUBLISHED_TRAINING_HOURS,
                "source": "a port of SpineNet to mmdetection, 4 days 2 hours on 8 V100",
            }
        share = self.num_candidates / PUBLISHED_CANDIDATES
        return {
            "candidates": PUBLISHED_CANDIDATES,
            "v100_hours": PUBLISHED_GPU_HOURS,
            "dollars": PUBLISHED_DOLLARS,
            "source": "Google Cloud's Neural Architecture Search, SpineNet on COCO at 512 px",
            "v100_hours_of_as_many": share * PUBLISHED_GPU_HOURS,
            "dollars_of_as_many": share * PUBLISHED_DOLLARS,
        }
