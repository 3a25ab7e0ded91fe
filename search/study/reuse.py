"""Results of other runs under a study's own conditions: `known_results`, for ``--reuse``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinesearch.proxy_task.result import device_kind
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.studies.study import Study
from spinesearch.search.config.run_config import FREE_PROXY_SETTINGS, ConfigError
from spinesearch.search.engine import trains_on
from spinesearch.search.study.study import Known
from spinesearch.search.study.study_config import StudyConfig

_MEASURE_AT = "proxy_task.measure_at"
# Of the ``run`` event: the digest of `spinesearch.search.environment.SCORING_PACKAGES`.
_SCORING_SOURCES = "scoring_sources"


def known_results(wanted: StudyConfig, event: Mapping[str, Any], reuse: Sequence[Path]) -> Known:
    """Completed trials of other runs under the conditions of one of this study's sides.

    Raises:
        ConfigError: a run has none; the message says what differs.
    """
    current = Run(sessions=[event])
    known: dict[tuple[str, str, int], tuple[Trial, Path]] = {}
    for run_dir in reuse:
        run, _ = load_run(run_dir)
        if run.kind == "training":
            raise ConfigError(f"--reuse: {run_dir} holds a training; give the folder of a search or a study")
        study = Study(run) if run.study is not None else None
        reasons: list[str] = []
        found: dict[tuple[str, str, int], tuple[Trial, Path]] = {}
        for side, config in wanted.configs.items():
            ours = trains_on(config)
            for other_side in study.sides if study else ("",):
                differs = difference(conditions(current, side), conditions(run, other_side))
                if differs:
                    reasons.append(differs)
                    continue
                settings = (study.config(other_side) if study else run.config)["proxy_task"]
                for trial in run.trials:
                    is_whole = trial.status == "completed" and not trial.is_stopped
                    if trial.side == other_side and is_whole:
                        theirs = device_kind(trial.metrics, settings.get("device", "auto"))
                        if ours and theirs != ours:
                            reasons.append(f"they were trained on {theirs}, and this study trains on {ours}")
                            continue
                        seed = run.config["seed"] if trial.seed is None else trial.seed
                        found[side, trial.arch_id, seed] = (trial, run_dir.resolve())
        if not found:
            reason = reasons[0] if reasons else "nothing has completed there"
            raise ConfigError(f"--reuse: {run_dir} has no results that fit here: {reason}")
        known |= found
    return known


def conditions(run: Run, side: str) -> dict[str, Any]:
    """All that decides a score besides architecture and seed."""
    config, data = run.config, run.sessions[-1]["data"]
    if run.study is not None:
        config, data = Study(run).config(side), Study(run).data(side)
    settings = {
        f"proxy_task.{key}": value
        for key, value in ProxySettings.recorded(config["proxy_task"]).items()
        if key not in FREE_PROXY_SETTINGS
    }
    code = {
        key: sorted({session.get(key, "unknown") for session in run.sessions})
        for key in (_SCORING_SOURCES, "torch")
    }
    return {**settings, "data key": data["key"], **code}


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The first condition that differs, in words; empty if none does."""
    for key in ours | theirs:
        # JSON has lists only.
        a, b = (list(v) if isinstance(v, tuple) else v for v in (ours.get(key), theirs.get(key)))
        if key == _MEASURE_AT and not a:
            continue  # what was measured on the way there is not asked for here, and the score is the same
        if a == b:
            continue
        words = f"{key} is {b!r} there and {a!r} here"
        if key != _SCORING_SOURCES:
            return words
        if "unknown" in theirs[key]:
            # Its digest was of all sources, which cannot be those of today.
            words = "its ledger is of a release that did not record the digest of what scores"
        return f"{words}; check out the commit that it was recorded with, or train again without --reuse"
    return ""
