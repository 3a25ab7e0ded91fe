"""How much the rewards of a search vary by themselves, from a variance study of its setting."""

from __future__ import annotations

from typing import Any

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.export.specs import Noise
from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.study import Study
from spinesearch.results.studies.variance import variance_report
from spinesearch.search.config.run_config import FREE_PROXY_SETTINGS

# Besides the free ones: what is measured on the way changes no score.
_OF_NO_ACCOUNT = (*FREE_PROXY_SETTINGS, "measure_at")


def measured_noise(study_run: Run, run: Run, *, name: str) -> Noise:
    """The noise of a search's rewards, by a variance study under the same setting.

    Args:
        study_run: the study.
        run: the search.
        name: what the study is called.

    Raises:
        ValueError: the run is no variance study, has no architecture measured twice yet, its proxy task,
            data or reward are others than the search's, or the search's reward is not the metric itself.
    """
    if study_run.study is None or study_run.study["kind"] != "variance":
        raise ValueError(f"--noise: {name} is no variance study; `spinesearch proxy variance` makes one")
    if run.config["search"].get("cost_target") is not None:
        raise ValueError(
            "--noise: the search's rewards are scores times a factor of their cost (search.cost_target), and "
            f"{name} measured scores; leave --noise out"
        )
    for group, theirs, ours in (
        ("proxy_task", _proxy_settings(study_run), _proxy_settings(run)),
        ("data", study_run.sessions[0]["data"]["key"], run.sessions[0]["data"]["key"]),
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


def _proxy_settings(run: Run) -> dict[str, Any]:
    """What decides a score, with its default for what is younger than the ledger."""
    settings = ProxySettings.recorded(run.config["proxy_task"])
    return {name: value for name, value in settings.items() if name not in _OF_NO_ACCOUNT}


def _metric(run: Run) -> object:
    return run.config["search"]["reward_metric"]
