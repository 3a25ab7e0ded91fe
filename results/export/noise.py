"""How much the rewards of a search vary by themselves, from a variance study of its setting."""

from __future__ import annotations

from typing import NamedTuple

from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.study import Study
from spinesearch.results.studies.variance import variance_report


class Noise(NamedTuple):
    """Fields of provenance: the reward's standard deviation between seeds, and the study that measured it."""

    noise_sd: float
    noise_run: str


def measured_noise(study_run: Run, run: Run, *, name: str) -> Noise:
    """The noise of a search's rewards, by a variance study under the same setting.

    Args:
        study_run: the study.
        run: the search.
        name: what the study is called.

    Raises:
        ValueError: the run is no variance study, has no architecture measured twice yet, or its proxy task,
            data or reward are others than the search's.
    """
    if study_run.study is None or study_run.study["kind"] != "variance":
        raise ValueError(f"--noise: {name} is no variance study; `spinesearch proxy variance` makes one")
    for group, theirs, ours in (
        ("proxy_task", study_run.config["proxy_task"], run.config["proxy_task"]),
        ("data", study_run.sessions[0]["data"], run.sessions[0]["data"]),
        ("reward_metric", _metric(study_run), _metric(run)),
    ):
        if theirs != ours:
            raise ValueError(
                f"--noise: {name} has another {group} than the search, whose noise may differ; "
                "repeat the study under the search's settings"
            )
    study = Study(study_run)
    rows = [row for row in variance_report(study).rows if row.metric == study.reward_metric]
    if not rows:
        raise ValueError(f"--noise: {name} has no architecture yet that was trained with two seeds")
    return Noise(rows[0].components.within ** 0.5, name)


def _metric(run: Run) -> object:
    return run.config["search"]["reward_metric"]
