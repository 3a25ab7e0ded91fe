"""Workers as the cluster comes and goes, without a Ray; test_ray_scorer.py has them on a real one."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray.exceptions import RayActorError

import spinesearch
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.environment import CodeVersion, code_difference, code_version
from spinesearch.search.scoring.scorer import Job
from spinesearch.search.workers import node_watch
from spinesearch.search.workers.node_watch import NodeWatch
from spinesearch.search.workers.pace import PaceMeter
from spinesearch.search.workers.pooled_worker import PooledWorker
from spinesearch.search.workers.ray_errors import import_failure, why_lost
from spinesearch.search.workers.ray_scorer import RayScorer
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.search.workers.trial_timeout import LEAST_COMPLETED, PatientClock, TrialTimeout
from spinesearch.search.workers.worker import Greeting, Worker, own_memory_bytes
from spinesearch.search.workers.worker_states import PoolTimes
from spinesearch.space import SPINENET_49
from spinesearch.training.process.failures import DeviceCrowded, DeviceLost

CODE = CodeVersion(version="0.1.0", sources="aaa", scoring_sources="ccc", torch="2.13.0")


def node(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("needs", "nodes", "fit"),
    [
        (TrialResources(cpus=1), [node("a", CPU=2)], 2),
        (TrialResources(cpus=2), [node("a", CPU=3), node("b", CPU=3)], 2),  # not 3: each stands on one node
        (TrialResources(cpus=0.1), [node("a", CPU=1)], 10),
        (TrialResources(cpus=1), [node("a", CPU=2, GPU=8), node("b", alive=False, CPU=64)], 2),
        (TrialResources(cpus=1, gpus=1), [node("a", CPU=16)], 0),
        (TrialResources(cpus=1, gpus=0.4), [node("a", CPU=16, GPU=2)], 4),  # two on each GPU
        (TrialResources(cpus=1, gpus=2), [node("a", CPU=16, GPU=5)], 2),
        (TrialResources(cpus=1, custom={"a100": 1}), [node("a", CPU=9, a100=3), node("b", CPU=9)], 3),
        (TrialResources(cpus=1, custom={"a100": 0.5}), [node("a", CPU=9, a100=1)], 2),
        (TrialResources(cpus=1), [], 0),
        (TrialResources(cpus=1), [node("a", CPU=2), node("left alone", CPU=4)], 2),
    ],
)
def test_how_many_workers_the_nodes_have_room_for(needs, nodes, fit):
    assert needs.workers_that_fit(nodes, {"left alone"}) == fit


def test_as_many_fit_as_can_be_placed_one_after_the_other():
    rng = random.Random(0)
    for _ in range(2000):
        needs = TrialResources(cpus=rng.choice([0.5, 1, 2, 3]), gpus=rng.choice([0, 0.25, 0.3, 0.5, 1, 2]))
        nodes = [node(str(i), CPU=rng.randrange(9), GPU=rng.randrange(4)) for i in range(rng.randrange(4))]
        placed = 0
        for has in (node["Resources"] for node in nodes):
            cpus, gpus = has["CPU"], [1.0] * has["GPU"]
            while True:
                wanted = [needs.gpus] if needs.gpus < 1 else [1.0] * int(needs.gpus)
                free = [i for i, left in enumerate(gpus) if left >= wanted[0] - 1e-9] if wanted[0:] else []
                if cpus < needs.cpus or (needs.gpus and len(free) < len(wanted)):
                    break
                cpus -= needs.cpus
                for i, amount in zip(free, wanted if needs.gpus else [], strict=False):
                    gpus[i] -= amount
                placed += 1
        assert needs.workers_that_fit(nodes) == placed


def test_refused_nodes_are_named_to_ray():
    assert "label_selector" not in TrialResources(cpus=1).actor_options()
    options = TrialResources(cpus=1, gpus=0.5, custom={"x": 2}).actor_options({"b", "a"})
    assert options == {
        "num_cpus": 1,
        "num_gpus": 0.5,
        "resources": {"x": 2},
        "label_selector": {"ray.io/node-id": "!in(a,b)"},
    }


def test_until_it_is_known_what_is_usual_the_first_limit_holds():
    timeout = TrialTimeout(None, floor_s=60)
    for _ in range(LEAST_COMPLETED - 1):
        timeout.completed(30, {})
        assert timeout.limit_s() == 1800
    timeout.completed(30, {})
    assert timeout.limit_s() == 300  # ten times the median
    for _ in range(200):
        timeout.completed(1, {})
    assert timeout.limit_s() == 60  # the cluster has become faster; the floor holds
    assert TrialTimeout(7.5, num_steps=10**6).limit_s(step_s=100) == 7.5


def test_a_limit_follows_the_number_of_steps():
    """What is usual is a time per step and one besides: a longer training is not taken to hang."""
    long, longer = (TrialTimeout(None, num_steps=num_steps) for num_steps in (1000, 100_000))
    for timeout in (long, longer):
        for _ in range(LEAST_COMPLETED):
            timeout.completed(70, {"num_steps": 100, "train_seconds": 50.0})
    assert long.limit_s() == 10 * (20 + 1000 * 0.5)
    assert longer.limit_s() == 10 * (20 + 100_000 * 0.5)


def test_the_first_limit_is_what_measured_steps_predict_if_that_is_more():
    timeout = TrialTimeout(None, num_steps=40_000)
    assert timeout.limit_s() == 1800
    assert timeout.limit_s(step_s=0.001) == 1800
    assert timeout.limit_s(step_s=0.5) == 10 * 40_000 * 0.5


def test_a_slow_machine_has_a_limit_by_its_own_pace():
    timeout = TrialTimeout(None, num_steps=1000)
    for _ in range(LEAST_COMPLETED):
        timeout.completed(100, {"num_steps": 1000, "train_seconds": 100.0})
    assert timeout.limit_s() == 1000
    assert timeout.limit_s(step_s=0.05) == 1000
    assert timeout.limit_s(step_s=2.0) == 20_000


def completed(trial: int, seconds: float, **fields: object) -> Trial:
    done = {"status": "completed", "reward": 0.0, "seconds": seconds, "time": float(trial)}
    return Trial(trial=trial, tokens=(0,), arch_id="a", **done | fields)


def test_a_resumed_run_knows_how_long_its_candidates_took():
    trials = [completed(i, 60.0) for i in range(LEAST_COMPLETED)]
    assert TrialTimeout(None, known=trials).limit_s() == 600
    assert TrialTimeout(None, known=trials[1:]).limit_s() == 1800
    for others in (  # which say nothing of how long a training takes here
        [completed(i, 0.0, status="duplicate") for i in range(9)],
        [completed(i, 9.0, status="failed") for i in range(9)],
        [completed(i, 1e6, reused_from="another") for i in range(9)],
        [completed(9, 0.0, status="proposed")],
    ):
        assert TrialTimeout(None, known=[*others, *trials]).limit_s() == 600
    # Of many the newest count, whatever their numbers.
    newest = [completed(i, 90.0, time=1000.0 + i) for i in range(101)]
    assert TrialTimeout(None, known=[*newest, *trials]).limit_s() == 900


def test_a_training_is_measured_after_its_first_steps_and_anew_if_it_starts_over():
    now = 0.0
    published: list[float] = []
    meter = PaceMeter(published.append, clock=lambda: now)
    for step, at in [(0, 100.0), (1, 200.0), (2, 300.0), *((i, 301.0 + i) for i in range(9))]:
        now = at
        meter(step)
    assert published == [1.0]  # the first steps' 100 s are left out


def test_the_time_in_which_the_driver_was_frozen_does_not_count():
    now = 1000.0
    clock = PatientClock(lambda: now)
    assert clock() == 0
    now += 30
    assert clock() == 30
    now += 7200  # stopped for two hours
    assert clock() == 90
    now += 1
    assert clock() == 91


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


def greeting(node_id: str) -> Greeting:
    return Greeting(worker="w:1", host=f"host-{node_id}", ip="10.0.0.7", node_id=node_id, code=CODE)


@pytest.fixture
def watch(monkeypatch):
    """A `NodeWatch` of nodes a and b, and what it has warned of."""
    nodes = [node("a", CPU=2), node("b", CPU=2)]
    monkeypatch.setattr(node_watch, "cluster_nodes", lambda: nodes)
    warnings: list[str] = []

    def build(**options):
        return NodeWatch(
            TrialResources(cpus=1), PoolTimes(), warnings.append, **{"may_grow": False} | options
        )

    return build, nodes, warnings


def lose(watch: NodeWatch, name: str, began: float, now: float, is_second: bool = False) -> bool:
    return watch.lost(greeting(name), began, now, "it died", is_second=is_second)


def test_a_node_that_loses_three_times_in_a_row_is_left_alone(watch):
    build, nodes, warnings = watch
    watched = build()
    assert not lose(watched, "a", 0, 10)
    assert not lose(watched, "a", 5, 10)  # lost together with the first: it counts no more
    assert not lose(watched, "a", 11, 20)
    watched.scored(greeting("a"))  # the node is in order
    assert not lose(watched, "a", 21, 30)
    assert not lose(watched, "b", 21, 30)  # another node's losses are its own
    assert not lose(watched, "a", 31, 40)
    assert not warnings
    assert lose(watched, "a", 41, 50)
    assert watched.left_alone == {"a"}
    assert warnings == [
        "workers on node host-a (10.0.0.7) were lost 3 times in a row, the last: it died; "
        "leaving that node alone for 600 s"
    ]
    assert watched.room(nodes) == 2
    assert watched.try_again(650)
    assert watched.room(nodes) == 4


def test_a_candidate_lost_twice_on_a_node_is_enough(watch):
    build, _, warnings = watch
    watched = build()
    assert not lose(watched, "a", 0, 10)
    assert lose(watched, "a", 11, 20, is_second=True)
    assert "lost twice with one candidate" in warnings[0]


def test_the_last_node_is_never_left_alone_for_its_losses(watch):
    build, nodes, _ = watch
    watched = build()
    nodes[1]["Alive"] = False
    for now in range(0, 100, 10):
        assert not lose(watched, "a", now, now + 5, is_second=True)


def test_with_all_nodes_refused_there_is_hope_only_where_others_may_join(watch):
    build, nodes, warnings = watch
    static, growing = build(), build(may_grow=True)
    for watched in (static, growing):
        watched.refused("a", "no data", 0)
        assert not watched.is_hopeless(nodes, 0)
        watched.refused("b", "no data", 1)
    del warnings[:]
    assert static.is_hopeless(nodes, 1)
    assert not growing.is_hopeless(nodes, 1)
    assert not growing.is_hopeless(nodes, 300)
    assert warnings == ["no other node is there; waiting up to 300 s for one to join"]
    assert growing.is_hopeless(nodes, 301)
    nodes.append(node("c", CPU=1))
    assert not growing.is_hopeless(nodes, 302)
    assert not static.is_hopeless(nodes, 302)


def test_a_node_is_refused_by_its_address_if_there_is_one(watch):
    build, nodes, warnings = watch
    watched = build()
    nodes[0]["NodeManagerAddress"], nodes[1]["NodeManagerAddress"] = "10.0.0.1", "10.0.0.2"
    assert not watched.refused_at("10.0.0.9", "No module named 'spinesearch'", 0)
    assert watched.refused_at("10.0.0.2", "No module named 'spinesearch'", 0)
    assert watched.left_alone == {"b"}
    assert len(warnings) == 1


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
