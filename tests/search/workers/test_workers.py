"""What a worker says of itself, and why it was lost, without a Ray; test_ray_scorer.py has real ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray.exceptions import RayActorError

import spinesearch
from spinesearch.search.environment import CodeVersion, code_difference, code_version
from spinesearch.search.scoring.scorer import Job
from spinesearch.search.workers.pooled_worker import PooledWorker
from spinesearch.search.workers.ray_errors import import_failure, why_lost
from spinesearch.search.workers.ray_scorer import RayScorer
from spinesearch.search.workers.worker import Worker, own_memory_bytes
from spinesearch.space import SPINENET_49
from spinesearch.training.process.failures import DeviceCrowded, DeviceLost

CODE = CodeVersion(version="0.1.0", sources="aaa", scoring_sources="ccc", torch="2.13.0")


def test_a_worker_with_other_code_learns_what_differs():
    assert code_difference(CODE, CODE) == ""
    assert code_difference(CODE, replace(CODE, torch="2.9.0")) == ""
    text = code_difference(CODE, replace(CODE, version="0.2.0"))
    assert text == "it has spinesearch 0.2.0, this search runs 0.1.0; install the same release there"
    text = code_difference(CODE, replace(CODE, sources="bbb"))
    assert "other sources (digest bbb, here aaa); check out the same commit there" in text


def test_two_checkouts_differ_and_an_installed_copy_does_not(tmp_path: Path, monkeypatch):
    """A checkout reaches its packages through links, an installed copy has them in one folder."""
    here = code_version()
    copy = tmp_path / "spinesearch"
    shutil.copytree(Path(spinesearch.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(spinesearch, "__file__", str(copy / "__init__.py"))
    assert code_version() == here
    for path, scores in (
        ("search/loop/loop.py", False),
        ("cli/new.py", False),
        ("__init__.py", False),
        ("space/new.py", True),
        ("models/heads/retinanet.py", True),
        ("data/open.py", True),
        ("training/step/train.py", True),
        ("proxy_task/task.py", True),
    ):
        before = code_version()
        with (copy / path).open("a") as file:
            file.write("# changed\n")
        assert code_version().sources != before.sources
        assert (code_version().scoring_sources != before.scoring_sources) == scores
    (copy / "search/loop/loop.py").rename(copy / "search/loops.py")
    assert code_version().version == here.version


HEAD = "The actor died unexpectedly before finishing this task.\n\tclass_name: Worker\n\tip: 10.0.0.7\n"


@pytest.mark.parametrize(
    ("message", "preempted", "line"),
    [  # as Ray 2.60 words them
        (
            HEAD + "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
            "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
            "common causes include: (1) the process was killed by the OOM killer",
            False,
            "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
            "exit detail: Worker unexpectedly exits with a connection error code 2. End of file.",
        ),
        (
            HEAD + "The actor died because its node has died. Node Id: 200d\n\tthe actor's node was "
            "terminated expectedly: received SIGTERM",
            False,
            "The actor died because its node has died. Node Id: 200d the actor's node was terminated "
            "expectedly: received SIGTERM",
        ),
        (HEAD + "The actor died because its node has died.", True, "its node was preempted: The actor died"),
        ("something\nelse", False, "something"),
    ],
)
def test_why_a_worker_was_lost_in_one_line(message: str, preempted: bool, line: str):
    error = RayActorError(error_msg=message, preempted=preempted)
    assert why_lost(error).startswith(f"RayActorError: {line}")
    assert "\n" not in why_lost(error)
    assert len(why_lost(RayActorError(error_msg="x" * 9999))) == 300
    assert why_lost(ValueError("")) == "ValueError: "


def test_what_a_worker_lacks_is_the_whole_of_why_it_did_not_start():
    report = (
        "The actor died because of an error raised in its creation task, "
        "\x1b[36mray::Worker.__init__()\x1b[39m "
        "(pid=7, ip=10.0.0.5, actor_id=ab, repr=<a.b object>)\n    ^^^^\n"
        "RuntimeError: The actor with name Worker failed to import on the worker.\n"
        "ModuleNotFoundError: No module named 'spinesearch'"
    )
    error = RayActorError(error_msg=report)
    error._actor_init_failed = True
    assert why_lost(error) == "RayActorError: ModuleNotFoundError: No module named 'spinesearch'"
    assert import_failure(error) == ("10.0.0.5", "ModuleNotFoundError: No module named 'spinesearch'")
    assert import_failure(ValueError("ip=10.0.0.5")) is None


def test_memory_of_its_own_is_not_what_it_has_mapped_of_files(tmp_path: Path):
    """A worker that reads its way through the packed data has not grown."""
    data = np.zeros(300_000_000, np.uint8)
    data.tofile(tmp_path / "pack")
    del data
    mapped = np.memmap(tmp_path / "pack", np.uint8, "r")
    before = own_memory_bytes()
    assert mapped.sum() == 0
    assert own_memory_bytes() < before + 50e6
    leak = np.ones(300_000_000, np.uint8)
    assert own_memory_bytes() > before + 250e6
    assert leak.size == mapped.size


def test_a_worker_that_a_candidate_has_worn_gets_no_other():
    class Wearing:
        def __init__(self) -> None:
            self.num_scored = 0

        @property
        def is_worn(self) -> bool:
            return self.num_scored == 2

        def __call__(self, spec, seed):
            self.num_scored += 1
            return {"ap": 0.5}

    worker = Worker()
    worker._score = Wearing()
    scorer = object.__new__(RayScorer)
    scorer._trials_per_worker = scorer._worker_memory_gb = None
    answers = [worker.score(Job(trial=i, spec=SPINENET_49, seed=0)) for i in range(2)]
    assert [answer.outcome.metrics for answer in answers] == [{"ap": 0.5}] * 2  # which still count
    assert [scorer._is_worn(PooledWorker(actor=None, started=0.0), a) for a in answers] == [False, True]


@pytest.mark.parametrize("end", [DeviceLost, DeviceCrowded])
def test_a_candidate_that_found_no_device_is_a_lost_attempt(end):
    def score(spec, seed):
        raise end("device cuda:0 is filled by other processes: CUDA out of memory.")

    worker = Worker()
    worker._score = score
    answer = worker.score(Job(trial=0, spec=SPINENET_49, seed=0))
    assert answer.outcome is None
    assert answer.reason == f"{end.__name__}: device cuda:0 is filled by other processes: CUDA out of memory."
