"""A run that studies the proxy task itself: the same architectures with several seeds, or under two settings.

Its ledger differs from a search's in the ``run`` event, which has ``study``: kind, num_archs, num_seeds and,
where two settings are compared, ``b``: the config and data of the second. ``config`` and ``data`` are those
of the first. Its trials are architecture x seed (x side).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.studies.image_draws import METRICS, NUM_DRAWS, Matched, image_draws
from spinesearch.results.studies.resamples import Floats

Kind = Literal["variance", "correlate"]

# The sides of each kind, in the order they are trained.
SIDES: Mapping[Kind, tuple[str, ...]] = {"variance": ("",), "correlate": ("a", "b")}

LESS_IS_BETTER = ("loss", "mean_loss")  # of the metrics; none of them can be a search's reward


class Rate(NamedTuple):
    """How long trainings took.

    Attributes:
        seconds: median of one training.
        low: the 5th percentile.
        high: the 95th percentile.
        per_hour: trainings in an hour of the study, all workers together; None if nothing was trained.
    """

    seconds: float
    low: float
    high: float
    per_hour: float | None


class Study:
    """A run read as a study.

    Args:
        run: its `Run.study` is not None.
        detections: reads the file of a trial that `image_draws` is about; None where it is not kept.

    Attributes:
        run: the run.
        kind: what is studied.
        sides: names of the settings compared, ``("",)`` for one alone.
        num_archs: architectures requested.
        num_seeds: seeds of each on each side.
        arch_ids: the architectures proposed so far, in order.
    """

    def __init__(self, run: Run, detections: Callable[[Trial], bytes | None] = lambda trial: None) -> None:
        settings = run.study
        assert settings is not None
        self.run = run
        self.kind: Kind = settings["kind"]
        self.sides = SIDES[self.kind]
        self.num_archs: int = settings["num_archs"]
        self.num_seeds: int = settings["num_seeds"]
        self._detections = detections
        self._redrawn: dict[tuple[str, str], Floats | None] = {}
        self.arch_ids = tuple(dict.fromkeys(trial.arch_id for trial in run.trials))

    @property
    def num_trials(self) -> int:
        """Trainings requested."""
        return self.num_archs * self.num_seeds * len(self.sides)

    @property
    def reward_metric(self) -> str:
        """The metric that a search under this configuration would make its reward of."""
        metric: str = self.run.config["search"]["reward_metric"]
        return metric

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every score, by name, the configured reward first.

        All measured numbers but counts and durations, which say nothing of how well a candidate learnt.
        """
        names = [self.reward_metric]
        for trial in self.run.trials:
            names += [name for name, value in trial.metrics.items() if _is_score(name, value)]
        return tuple(dict.fromkeys(names))

    def config(self, side: str) -> Mapping[str, Any]:
        """The whole configuration of a side."""
        config: Mapping[str, Any] = self.run.config
        return config if side != "b" else dict(self._side_b["config"])

    def data(self, side: str) -> Mapping[str, Any]:
        """What the ledger says of the data of a side: key, numbers of images, class names."""
        data: Mapping[str, Any] = self.run.sessions[-1]["data"]
        return data if side != "b" else dict(self._side_b["data"])

    @property
    def _side_b(self) -> Mapping[str, Any]:
        assert self.run.study is not None
        side: Mapping[str, Any] = self.run.study["b"]
        return side

    def trials(self, side: str) -> list[Trial]:
        """The trials of a side."""
        return [trial for trial in self.run.trials if trial.side == side]

    def scores(self, side: str, metric: str) -> Floats:
        """The metric by architecture and seed, `[num_archs, num_seeds]`; NaN where there is none (yet).

        Rows follow `arch_ids`, columns rising seeds.
        """
        table = np.full((len(self.arch_ids), len(self._seeds(side))), np.nan)
        for trial, row, column in self._completed(side):
            if (value := trial.metrics.get(metric)) is not None:
                table[row, column] = value
        return table

    def redrawn_scores(self, side: str, metric: str) -> Floats | None:
        """The metric on draws of the held-out images, `[R, num_archs, num_seeds]`; NaN as in `scores`.

        Trainings on the same images have the same draws. None if the metric is not one of detections, or
        these were not kept of every training.
        """
        if (side, metric) not in self._redrawn:
            self._redrawn[side, metric] = self._redraw(side, metric) if metric in METRICS else None
        return self._redrawn[side, metric]

    def _redraw(self, side: str, metric: str) -> Floats | None:
        found = np.full((NUM_DRAWS, len(self.arch_ids), len(self._seeds(side))), np.nan)
        for trial, row, column in self._completed(side):
            data = self._detections(trial)
            if data is None:
                return None
            matched = Matched.from_bytes(data)
            draws = image_draws(matched.num_true.shape[1], matched.images)
            found[:, row, column] = matched.metric(metric, draws)
        return found

    def _seeds(self, side: str) -> list[int]:
        return sorted({trial.seed for trial in self.trials(side) if trial.seed is not None})

    def _completed(self, side: str) -> Iterator[tuple[Trial, int, int]]:
        """The completed trials of a side, each with its row and column in a table of scores."""
        rows = {arch_id: row for row, arch_id in enumerate(self.arch_ids)}
        columns = {seed: column for column, seed in enumerate(self._seeds(side))}
        for trial in self.trials(side):
            if trial.status == "completed" and trial.seed is not None:
                yield trial, rows[trial.arch_id], columns[trial.seed]

    def mean_scores(self, side: str, metric: str) -> Floats:
        """The mean of the metric over the seeds done, `[num_archs]`; NaN for architectures without any."""
        return row_means(self.scores(side, metric))

    def rate(self, side: str) -> Rate | None:
        """How long the trainings of a side took; None before the first has ended."""
        ended = [trial for trial in self.trials(side) if trial.is_done and not trial.reused_from]
        if not ended:
            return None
        low, median, high = np.quantile([trial.seconds for trial in ended], [0.05, 0.5, 0.95])
        return Rate(float(median), float(low), float(high), self._per_hour(ended))

    def _per_hour(self, ended: Sequence[Trial]) -> float | None:
        """Trainings an hour, over the times in which a process carried out this side."""
        times = sorted(trial.time for trial in ended)
        starts = [session["time"] for session in self.run.sessions]
        # The other side's trainings come before or after: its results bound this side's time too.
        others = [t.time for t in self.run.trials if t.is_done and t.side != ended[0].side]
        bounds = sorted([*starts, *others])
        spent = 0.0
        for begin, end in zip(bounds, [*bounds[1:], math.inf], strict=True):
            inside = [time for time in times if begin <= time < end]
            spent += inside[-1] - begin if inside else 0.0
        return 3600 * len(times) / spent if spent > 0 else None


def row_means(table: Floats) -> Floats:
    """The mean of each row's numbers, `[..., N]` of `[..., N, M]`; NaN for rows that have none."""
    is_there = np.isfinite(table)
    total = np.where(is_there, table, 0.0).sum(axis=-1)
    count = is_there.sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def drawn_note(metric: str, draws_images: bool) -> str:
    """What a report's intervals are over, in words."""
    if draws_images:
        return f"intervals of {metric} are over architectures and held-out images, others over architectures"
    return "intervals are over architectures: the detections were not kept, on which images could be drawn"


def _is_score(name: str, value: Any) -> bool:
    is_cost = name.startswith("num_") or name.endswith(("seconds", "_s"))
    return isinstance(value, float) and not is_cost
