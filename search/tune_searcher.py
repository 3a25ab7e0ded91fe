"""Our controllers for people with a Ray Tune of their own: `SpineSearcher`, see docs/tune.md."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch
from ray.tune.search import Searcher

from spinesearch.controller import Controller
from spinesearch.data.whole_file import write_whole
from spinesearch.search.loop.generations import Candidate, Generations
from spinesearch.search.scoring.reward import reward_of
from spinesearch.space import SearchSpace

_VERSION = 3  # of the file that `SpineSearcher.save` writes
_NUM_DECODED = 100  # candidates of a file that are decoded again, to see that they are networks of the space
_MAX_STALE_GENERATIONS = 100  # in a row without a network not seen before: the controller has converged

logger = logging.getLogger(__name__)


class SpineSearcher(Searcher):
    """Hands a controller's candidates to Ray Tune, and the trials' metric to the controller.

    A trial's config has ``spec`` (JSON text for `ArchSpec.from_json`), ``arch_id``, ``candidate`` (its
    number) and ``seed`` (of its training, the same for all). Candidates are those of a search for the
    same controller, seed, generation size, lag and rewards, however trials finish. A network is tried once:
    candidates that repeat one get its reward and no trial.

    Args:
        controller: in its initial state.
        space: what it chooses from.
        metric: the reported metric that is the reward; a trial's last report counts.
        mode: ``max``, or ``min`` to make the negative of the metric the reward.
        seed: of every candidate's training.
        generation_size: candidates per update.
        lag: generations that may be proposed beyond the last one learnt from.
        failed_reward: the reward of a trial that failed, or reported no finite value of the metric.
        num_trials: candidates, repeated ones included, after which the search is over, as
            ``search.num_trials``; None to leave the end to Tune's ``num_samples``, which counts trials.

    Raises:
        ValueError: an argument breaks its rule.
    """

    def __init__(
        self,
        controller: Controller,
        space: SearchSpace,
        *,
        metric: str,
        mode: Literal["max", "min"] = "max",
        seed: int = 0,
        generation_size: int = 8,
        lag: int = 1,
        failed_reward: float = 0.0,
        num_trials: int | None = None,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"mode: must be max or min, got {mode!r}")
        for name, value, least in (
            ("generation_size", generation_size, 1),
            ("lag", lag, 0),
            ("num_trials", num_trials, 1),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name}: must be at least {least}, got {value}")
        super().__init__(metric=metric, mode=mode)
        self._space = space
        self._seed = seed
        self._failed_reward = failed_reward
        self._num_trials = num_trials
        self._settings: dict[str, Any] = {
            **{f"controller's {name}": value for name, value in controller.arguments.items()},
            "space": space.name,
            "space's num_choices": list(space.num_choices),
            "metric": metric,
            "mode": mode,
            "seed": seed,
            "generation_size": generation_size,
            "lag": lag,
            "failed_reward": failed_reward,
        }
        self._generations = Generations(
            controller, space, generation_size=generation_size, lag=lag, num_trials=num_trials
        )
        self._next = 0  # the first candidate not looked at for a trial yet
        self._running: dict[str, str] = {}  # arch_id by trial id
        self._max_concurrent: int | None = None

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """False: the space is our own, so Tune is to refuse a ``param_space`` with anything to choose.

        Raises:
            ValueError: Tune was given another metric or mode.
        """
        for name, ours, theirs in (("metric", self.metric, metric), ("mode", self.mode, mode)):
            if theirs not in (None, ours):
                raise ValueError(
                    f"TuneConfig.{name}: is {theirs!r}, but the searcher was built with {ours!r}; "
                    "leave it out of TuneConfig"
                )
        return False

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """True: the limit of a `ConcurrencyLimiter` is kept here, by trials that Tune really has."""
        self._max_concurrent = max_concurrent
        return True

    def suggest(  # type: ignore[override]  # Tune's hint leaves out its own FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next candidate's config; None while it depends on results to come, `FINISHED` at the end."""
        if self._max_concurrent is not None and len(self._running) >= self._max_concurrent:
            return None
        for _ in range(_MAX_STALE_GENERATIONS):
            candidate = self._take_candidate()
            if candidate is not None:
                self._running[trial_id] = candidate.arch_id
                return {
                    "spec": self._space.decode(candidate.tokens).to_json(),
                    "arch_id": candidate.arch_id,
                    "candidate": candidate.candidate,
                    "seed": self._seed,
                }
            if not self._generations.advance():
                # Over only when every result is in: Tune asks no more after FINISHED, and a candidate whose
                # trial a snapshot lost would get no other.
                is_over = self._next == self._num_trials and not self._running
                return str(self.FINISHED) if is_over else None
        if self._num_trials is not None:
            return None  # so that Tune can see to its other work before the next ones
        logger.warning(
            "the last %d generations held no network that was not tried before; the search ends",
            _MAX_STALE_GENERATIONS,
        )
        return str(self.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in a trial's end. The first result of a network counts, whichever trial brings it."""
        arch_id = self._running.pop(trial_id, None)
        if result is not None:  # Tune adds the config to what was reported
            arch_id = result.get("config/arch_id", arch_id)
        if arch_id is not None:
            self._take_result(arch_id, None if error else result)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Take in the result of a network scored elsewhere; candidates that repeat it need no trial.

        Args:
            parameters: a trial's config, of which ``arch_id`` counts.
            value: the metric.
            error: whether it failed.
            pruned: as for a trial, what it came to counts.
            intermediate_values: not used.
        """
        self._take_result(parameters["arch_id"], None if error else {str(self.metric): value})

    def save(self, checkpoint_path: str) -> None:
        """Write everything to one file, which appears whole or not at all."""
        state = self._generations.state_dict()
        controller = state.pop("controller")
        record = {
            "version": _VERSION,
            "settings": self._settings,
            "running": self._running,
            **state,
        }
        buffer = io.BytesIO()
        # JSON beside the tensors: reading 14,000 candidates is quick, and nothing in it can be run.
        torch.save({"record": json.dumps(record), "controller": controller}, buffer)
        write_whole(Path(checkpoint_path), buffer.getvalue())

    def restore(self, checkpoint_path: str) -> None:
        """Resume from a file of `save` with a new Tuner: what was running is handed out again.

        Raises:
            ValueError: the file is damaged, or another search's.
        """
        self._load(Path(checkpoint_path))
        self._running = {}

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Resume from the snapshot in an experiment's folder; `Tuner.restore` calls this.

        Unfinished trials that the snapshot holds are run again by Tune and keep their candidates; candidates
        whose trials it lacks are handed out again.

        Raises:
            ValueError: there is no snapshot, it is damaged, or another search's.
        """
        folder = Path(checkpoint_dir)
        paths = sorted(folder.glob(self.CKPT_FILE_TMPL.format("*")))
        if not paths:
            raise ValueError(f"{folder}: holds no state of a searcher")
        self._load(paths[-1])
        unfinished = _unfinished_trials(folder)
        if unfinished is not None:
            self._running = {trial: arch for trial, arch in self._running.items() if trial in unfinished}

    def _take_candidate(self) -> Candidate | None:
        """The next candidate that needs a trial; None if there is none (yet)."""
        generations = self._generations
        while self._next not in (len(generations.candidates), self._num_trials):
            candidate = generations.candidates[self._next]
            self._next += 1
            if candidate.arch_id in generations.rewards or candidate.arch_id in self._running.values():
                continue
            return candidate
        return None

    def _take_result(self, arch_id: str, metrics: Mapping[str, Any] | None) -> None:
        """Set a network's reward unless it has one, and then that of whatever depended on it."""
        if arch_id in self._generations.rewards:
            return
        metric = str(self.metric)
        if metrics is not None and self.mode == "min" and isinstance(metrics.get(metric), Real):
            metrics = {metric: -metrics[metric]}
        reward = reward_of(metrics, metric=metric, failed_reward=self._failed_reward)
        self._generations.rewards[arch_id] = reward
        for _ in range(_MAX_STALE_GENERATIONS):  # a bound, where all that is proposed was tried before
            if not self._generations.advance():
                break

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, weights_only=True)
            record = json.loads(state["record"])
        except Exception as error:  # of a damaged file torch.load may raise anything
            raise ValueError(f"{path}: is not a state of a SpineSearcher, or is damaged: {error}") from error
        if record["version"] != _VERSION:
            raise ValueError(f"{path}: has version {record['version']}; this release reads {_VERSION}")
        ours, theirs = self._settings, record["settings"]
        for name in ours | theirs:
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"{name}: {path} was written with {theirs.get(name)!r}, got {ours.get(name)!r}; "
                    "build the searcher as before, or begin a new search"
                )
        for candidate in record["candidates"][:_NUM_DECODED]:
            if self._space.decode(candidate["tokens"]).arch_id != candidate["arch_id"]:
                raise ValueError(
                    f"space: the candidates of {path} are other networks in this space {self._space.name}; "
                    "build the searcher as before, or begin a new search"
                )
        self._generations.load_state_dict({**record, "controller": state["controller"]})
        self._running = record["running"]
        self._next = 0


def _unfinished_trials(folder: Path) -> set[str] | None:
    """The ids of the trials that Tune resumes from its snapshot in a folder; None if it is not known.

    A kill can leave a snapshot whose parts are of different times: Tune writes and copies them one by one.
    """
    paths = sorted(folder.glob("experiment_state-*.json"))  # as ray.tune's TuneController names them
    if not paths:
        return None
    try:
        trials = [json.loads(state) for state, _ in json.loads(paths[-1].read_text())["trial_data"]]
        return {trial["trial_id"] for trial in trials if trial["status"] not in ("TERMINATED", "ERROR")}
    except (ValueError, KeyError, TypeError):  # no promise of Tune's that another release must keep
        return None
