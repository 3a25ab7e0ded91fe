"""A run as a file of Optuna's `JournalStorage`, which `optuna-dashboard FILE` shows.

The lines are written here, without Optuna: through its storage each trial would be replayed as it is added,
which takes milliseconds a trial. They are those of `JournalStorage.create_new_trial`, as of Optuna 4 and 5
(optuna/storages/journal/_storage.py).
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spinesearch.results.finalists import final_standings
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import RungResult, Trial
from spinesearch.space import SearchSpace

_CREATE_STUDY, _STUDY_USER_ATTR, _CREATE_TRIAL = 0, 2, 4  # JournalOperation
_MAXIMIZE = 2  # StudyDirection
_RUNNING, _COMPLETE, _PRUNED, _FAIL, _WAITING = range(5)  # TrialState


def write_optuna(run: Run, path: Path, *, name: str, rung_value: Callable[[RungResult], float]) -> None:
    """Write the study of a run.

    Every decision is a parameter with one distribution, whatever was masked: an integer from 0 to the number
    of choices less one. A completed candidate or a duplicate of one is COMPLETE, one that stopped at a rung
    PRUNED, a failed or an infeasible one FAIL, one that is being trained RUNNING, one that waits WAITING.

    Args:
        run: a search.
        path: of the file; what is there is replaced.
        name: of the study.
        rung_value: what a candidate is compared by at a rung.
    """
    distributions = _distributions(run.space)
    scores = {
        row.candidate.trial: {"finalist_score": row.score, "finalist_standard_error": row.standard_error}
        for row in final_standings(run)
        if row.candidate is not None
    }
    with path.open("w", encoding="utf-8") as file:
        for line in _study_lines(run, name):
            file.write(_line(line))
        for trial in run.trials:
            line = _trial_line(run, trial, distributions)
            line["user_attrs"] |= scores.get(trial.trial, {})
            line["intermediate_values"] = {str(part.num_steps): rung_value(part) for part in trial.rungs}
            file.write(_line(line))


def _distributions(space: SearchSpace) -> dict[str, str]:
    """Optuna's form of each decision's choices, by the decision's name."""
    return {
        decision.name: json.dumps(
            {
                "name": "IntDistribution",
                "attributes": {"log": False, "step": 1, "low": 0, "high": decision.num_choices - 1},
            }
        )
        for decision in space.decisions
    }


def _study_lines(run: Run, name: str) -> Iterator[dict[str, Any]]:
    yield {"op_code": _CREATE_STUDY, "study_name": name, "directions": [_MAXIMIZE]}
    config = run.config
    about = {
        "version": run.sessions[0]["version"],
        "seed": config["seed"],
        "space": run.space.name,
        "controller": config["controller"]["name"],
        "reward_metric": config["search"]["reward_metric"],
    }
    for key, value in about.items():
        yield {"op_code": _STUDY_USER_ATTR, "study_id": 0, "user_attr": {key: value}}


def _trial_line(run: Run, trial: Trial, distributions: dict[str, str]) -> dict[str, Any]:
    state, value = _state(run, trial)
    start, end = None, None
    if state == _RUNNING:
        start = run.begun["", trial.trial]["time"]
    elif state != _WAITING:
        start, end = trial.time - trial.seconds, trial.time
    about = {
        "arch_id": trial.arch_id,
        "generation": trial.generation,
        "status": trial.status,
        "reason": trial.reason,
        "duplicate_of": trial.duplicate_of,
        "node": trial.node,
        "seconds": trial.seconds,
        **trial.metrics,
    }
    return {
        "op_code": _CREATE_TRIAL,
        "study_id": 0,
        "datetime_start": _iso(start),
        "state": state,
        "value": value,
        "values": None,
        **({} if end is None else {"datetime_complete": _iso(end)}),
        "distributions": distributions,
        "params": dict(zip(distributions, trial.tokens, strict=True)),
        "user_attrs": {name: value for name, value in about.items() if value not in (None, "")},
        "system_attrs": {},
    }


def _state(run: Run, trial: Trial) -> tuple[int, float | None]:
    """Optuna's state of a candidate, and its value."""
    if not trial.is_done:
        return (_RUNNING if ("", trial.trial) in run.begun else _WAITING), None
    if trial.reward is None or not math.isfinite(trial.reward) or not trial.metrics:
        return _FAIL, None
    return (_PRUNED if trial.is_stopped else _COMPLETE), trial.reward


def _iso(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="microseconds")


def _line(fields: dict[str, Any]) -> str:
    return json.dumps({**fields, "worker_id": "spinesearch"}, separators=(",", ":")) + "\n"
