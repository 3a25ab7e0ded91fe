"""``--reuse``: results of another run are taken where all that decides a score is the same."""

from pathlib import Path
from typing import Any

import pytest

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.study.reuse import known_results
from spinesearch.search.study.study_config import StudyConfig, compose_study

CODE = {"version": "0.2.0", "sources": "aaa", "scoring_sources": "ccc", "torch": "2.13.0"}


@pytest.fixture(scope="module")
def wanted() -> StudyConfig:
    return compose_study("correlate", ["b.proxy_task.num_steps=400"], num_archs=3, num_seeds=1)


def event(wanted: StudyConfig, side: str = "a", key: str = "0123", **code: str) -> dict[str, Any]:
    """The ``run`` event of a search with the settings of a side; of a study's first side too."""
    config = wanted.configs[side].to_dict()
    return {"event": "run", **CODE, "config": config, "data": {"key": key}, "time": 1.0, **code}


def study_event(wanted: StudyConfig) -> dict[str, Any]:
    b = event(wanted, "b")
    study = {**wanted.to_dict(), "b": {"config": b["config"], "data": b["data"]}}
    return {**event(wanted), "study": study}


def write(run_dir: Path, *sessions: dict[str, Any], **metrics: Any) -> Path:
    """A search of three candidates, of which one has failed and one has stopped at a rung."""
    results: list[dict[str, Any]] = [
        {"event": "propose", "trial": 0, "tokens": [0], "arch_id": "0" * 12},
        {"event": "propose", "trial": 1, "tokens": [1], "arch_id": "1" * 12},
        {"event": "propose", "trial": 2, "tokens": [2], "arch_id": "2" * 12},
        {
            "event": "result",
            "trial": 0,
            "status": "completed",
            "metrics": {"ap": 0.1, **metrics},
            "reward": 0.1,
        },
        {"event": "result", "trial": 1, "status": "failed", "reason": "it broke", "reward": 0.0},
        {
            **{"event": "result", "trial": 2, "status": "completed", "is_stopped": True},
            **{"metrics": {"ap": 0.05}, "reward": 0.05},
        },
    ]
    with Ledger(run_dir) as ledger:
        ledger.append([*sessions, *({**result, "time": 2.0} for result in results)])
    return run_dir


@pytest.mark.parametrize("side", ["a", "b"])
def test_other_code_than_what_scores_may_differ(wanted, side: str, tmp_path: Path):
    run_dir = write(tmp_path / "run", event(wanted, side, version="0.1.0", sources="bbb"))
    known = known_results(wanted, study_event(wanted), [run_dir])
    assert {key: (trial.trial, path) for key, (trial, path) in known.items()} == {
        (side, "0" * 12, 0): (0, run_dir)
    }


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"scoring_sources": "ddd"}, r"scoring_sources is \['ddd'\] there and \['ccc'\] here; check out the"),
        ({"torch": "2.9.0"}, r"torch is \['2.9.0'\] there and \['2.13.0'\] here$"),
        ({"key": "9876"}, "data key is '9876' there and '0123' here$"),
    ],
)
def test_what_decides_a_score_may_not(wanted, other: dict[str, str], says: str, tmp_path: Path):
    run_dir = write(tmp_path, event(wanted, **other))
    with pytest.raises(ConfigError, match=f"^--reuse: {tmp_path} has no results that fit here: {says}"):
        known_results(wanted, study_event(wanted), [run_dir])
    write(tmp_path / "resumed", event(wanted), event(wanted, **other))
    with pytest.raises(ConfigError, match=r"there and .* here"):
        known_results(wanted, study_event(wanted), [tmp_path / "resumed"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_scores_of_another_kind_of_device_are_not_taken(wanted, device: str, tmp_path: Path):
    words = [f"proxy_task.device={device}", "b.proxy_task.num_steps=400"]
    study = compose_study("correlate", words, num_archs=3, num_seeds=1)
    runs = {
        "cpu": write(tmp_path / "cpu", event(wanted)),
        "cuda": write(tmp_path / "cuda", event(wanted), device="cuda, convolutions in TF32"),
    }
    assert known_results(study, study_event(study), [runs.pop(device)])
    ((other, run_dir),) = runs.items()
    with pytest.raises(ConfigError, match=f"they were trained on {other}, and this study trains on {device}"):
        known_results(study, study_event(study), [run_dir])


def test_a_ledger_that_does_not_say_where_it_was_computed_is_of_the_device_it_asked_for(tmp_path: Path):
    on_gpu = compose_study(
        "correlate", ["proxy_task.device=cuda", "b.proxy_task.num_steps=400"], num_archs=3, num_seeds=1
    )
    run_dir = write(tmp_path / "run", event(on_gpu))
    assert known_results(on_gpu, study_event(on_gpu), [run_dir])
    on_cpu = compose_study(
        "correlate", ["proxy_task.device=cpu", "b.proxy_task.num_steps=400"], num_archs=3, num_seeds=1
    )
    with pytest.raises(ConfigError, match="they were trained on cuda, and this study trains on cpu"):
        known_results(on_cpu, study_event(on_cpu), [run_dir])


def test_a_ledger_of_an_earlier_release_is_refused_and_says_what_to_do(wanted, tmp_path: Path):
    old = event(wanted)
    del old["scoring_sources"]
    run_dir = write(tmp_path, old)
    says = (
        "its ledger is of a release that did not record the digest of what scores; "
        "check out the commit that it was recorded with, or train again without --reuse"
    )
    with pytest.raises(ConfigError, match=says):
        known_results(wanted, study_event(wanted), [run_dir])


def test_a_curve_is_taken_with_its_score_and_asked_for_where_it_is_wanted(wanted, tmp_path: Path):
    curved = compose_study(
        "correlate", ["proxy_task.measure_at=[50]", "b.proxy_task.num_steps=400"], num_archs=3, num_seeds=1
    )
    plain_dir, curved_dir = write(tmp_path / "1", event(wanted)), write(tmp_path / "2", event(curved))
    assert known_results(wanted, study_event(wanted), [plain_dir])
    assert known_results(wanted, study_event(wanted), [curved_dir])
    assert known_results(curved, study_event(curved), [curved_dir])
    with pytest.raises(ConfigError, match=r"proxy_task.measure_at is \[\] there and \[50\] here"):
        known_results(curved, study_event(curved), [plain_dir])


def test_a_training_is_named_as_one(wanted, tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        ledger.append([{"event": "run", **CODE, "training": {"model": {}}, "config": {}, "time": 1.0}])
    with pytest.raises(ConfigError, match=f"^--reuse: {tmp_path} holds a training; give the folder of a"):
        known_results(wanted, study_event(wanted), [tmp_path])


@pytest.mark.parametrize(
    "word",
    [
        *("search.initial=[spinenet49]", "search.warm_start=runs/x", "search.max_multiply_adds=1e9"),
        *("search.max_parameters=1e6", "search.cost_target=1e9", "search.cost_weight=-0.1"),
    ],
)
def test_what_a_study_has_no_use_for_is_refused(word: str):
    with pytest.raises(ConfigError, match=rf"^{word.partition('=')[0]}: a study has none"):
        compose_study("variance", [word], num_archs=3, num_seeds=2)
