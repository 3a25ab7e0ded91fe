"""Rungs: synchronous successive halving inside a generation.

Every candidate is trained to the first rung. When a whole generation stands there, the best share of it goes
on to the next, and the others have their result; so on to whole trainings. Who goes on follows from the
generation's own metrics in candidate order, never from what arrives first or from other generations: so a
search with rungs is a function of configuration and seed, too. Networks are compared, not trials: one that is
proposed twice counts once, and whatever was trained of it before is taken over.

(K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
2016, is where successive halving comes from.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spinesearch.proxy_task.request import STATE, WHOLE, TrainingRequest
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import RungResult, Trial
from spinesearch.search.config.rungs import Rung
from spinesearch.search.scoring.reward import SoftCost, rung_reward


@dataclass(frozen=True, kw_only=True, slots=True)
class Halving:
    """How generations are thinned out.

    Attributes:
        rungs: in order, none for whole trainings alone.
        generation_size: candidates of a generation.
        metric: the name of the metric that is the reward, by which candidates are compared.
        soft_cost: by what its cost lowers a candidate's reward.
        goes_on: whether a training goes on where that of the rung before stopped. Without that, each rung
            trains from the beginning, under a schedule of its own length.
    """

    rungs: tuple[Rung, ...] = ()
    generation_size: int = 1
    metric: str = "ap"
    soft_cost: SoftCost | None = None
    goes_on: bool = False

    def request(self, trial: Trial) -> TrainingRequest:
        """What is asked of the next training of a candidate: that of its next rung, or the whole."""
        rung = len(trial.rungs)
        if rung == len(self.rungs):
            return WHOLE
        wants = frozenset({STATE}) if self.goes_on else frozenset[str]()
        return TrainingRequest(num_steps=self.rungs[rung].num_steps, wants=wants)

    def reward(self, part: RungResult) -> float:
        """What a candidate is worth at a rung."""
        return rung_reward(part, metric=self.metric, soft_cost=self.soft_cost)

    def decided(
        self, run: Run, number: int, is_busy: Callable[[Trial], bool]
    ) -> Iterator[tuple[Trial, bool]]:
        """Trials that wait at a rung and whose fate there is certain, each with whether it goes on.

        Args:
            run: with the whole generation proposed.
            number: of the generation.
            is_busy: whether a trial is on its way to the next rung already.
        """
        first = number * self.generation_size
        generation = run.trials[first : first + self.generation_size]
        for number, rung in enumerate(self.rungs):
            if not all(trial.is_done or len(trial.rungs) > number for trial in generation):
                return
            at_rung = (trial for trial in generation if len(trial.rungs) == number + 1)
            waiting = [trial for trial in at_rung if not trial.is_done and not is_busy(trial)]
            kept = self._kept(generation, number, rung) if waiting else frozenset()
            yield from ((trial, trial.arch_id in kept) for trial in waiting)

    def _kept(self, generation: Sequence[Trial], number: int, rung: Rung) -> frozenset[str]:
        """The networks that go on from a rung: the best that passed it, earlier ones among equals."""
        values: dict[str, float] = {}
        for trial in generation:
            if len(trial.rungs) > number:
                values.setdefault(trial.arch_id, self.reward(trial.rungs[number]))
        ranked = sorted(values, key=lambda arch_id: -values[arch_id])  # stable
        return frozenset(ranked[: rung.num_kept(len(ranked))])


NO_RUNGS = Halving()
