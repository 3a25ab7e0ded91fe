"""How many workers the nodes have room for, without a Ray."""

import random

import pytest
from ray_nodes import node

from spinesearch.search.workers.trial_resources import TrialResources


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
        for has in (there["Resources"] for there in nodes):
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
