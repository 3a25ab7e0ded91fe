"""What every controller promises, whatever its strategy."""

import io
import json
import subprocess
import sys

import pytest
import torch

from spinesearch.controller import Controller, Rollout, Suggestion
from spinesearch.controller.random import RandomController
from spinesearch.controller.reinforce import ReinforceController
from spinesearch.space import MBCONV_STEM, SpineNetSpace

SPACE = SpineNetSpace()
SPACES = {
    "spinenet": SPACE,
    # Connections only: no decision on order, offsets or types.
    "fixed order": SpineNetSpace(
        base_levels={2: 1, 4: 2},
        fixed_order=(4, 2, 4, 7, 6, 5, 4, 3),
        level_offsets=(0,),
        block_types=("residual",),
    ),
    # A decision with one choice (the base level), and no types.
    "one block": SpineNetSpace(base_levels={5: 1}, window=2, stem=MBCONV_STEM, block_types=("mbconv",)),
}
CONTROLLERS = {"random": RandomController, "reinforce": ReinforceController}


@pytest.fixture(params=CONTROLLERS)
def build(request):
    return CONTROLLERS[request.param]


@pytest.fixture(params=SPACES)
def space(request) -> SpineNetSpace:
    return SPACES[request.param]


def reward(suggestion: Suggestion) -> float:
    return sum(suggestion.tokens) / 200


def rollouts(suggestions: list[Suggestion]) -> list[Rollout]:
    return [
        Rollout(trial=i, tokens=s.tokens, log_probs=s.log_probs, info=s.info, reward=reward(s))
        for i, s in enumerate(suggestions)
    ]


def rounds(controller: Controller, count: int, size: int = 5) -> list[Suggestion]:
    """Suggest and update in turn; all suggestions."""
    suggestions = []
    for _ in range(count):
        generation = controller.suggest(size)
        controller.update(rollouts(generation))
        suggestions += generation
    return suggestions


def test_same_seed_equal_other_seed_different(build, space):
    assert rounds(build(space, seed=1), 4) == rounds(build(space, seed=1), 4)
    assert rounds(build(space, seed=1), 4) != rounds(build(space, seed=2), 4)


def test_its_arguments_are_plain_data_that_tell_controllers_apart(build):
    arguments = build(SPACE, seed=1).arguments
    assert json.loads(json.dumps(arguments)) == arguments == build(SPACE, seed=1).arguments
    assert arguments["seed"] == 1
    assert arguments != build(SPACE, seed=2).arguments
    assert len({json.dumps(kind(SPACE, seed=1).arguments) for kind in CONTROLLERS.values()}) == len(
        CONTROLLERS
    )


def test_a_fresh_process_agrees(build):
    code = (
        "import json, sys\n"
        f"from {build.__module__} import {build.__name__} as build\n"
        "from spinesearch.controller import Rollout\n"
        "from spinesearch.space import SpineNetSpace\n"
        "controller = build(SpineNetSpace(), seed=5)\n"
        "first = controller.suggest(4)\n"
        "controller.update([Rollout(trial=i, tokens=s.tokens, log_probs=s.log_probs, reward=i / 7)"
        " for i, s in enumerate(first)])\n"
        "print(json.dumps([(s.tokens, s.log_probs) for s in first + controller.suggest(4)]))\n"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    controller = build(SPACE, seed=5)
    first = controller.suggest(4)
    controller.update(
        [Rollout(trial=i, tokens=s.tokens, log_probs=s.log_probs, reward=i / 7) for i, s in enumerate(first)]
    )
    here = json.dumps([(s.tokens, s.log_probs) for s in first + controller.suggest(4)])
    assert other.stdout.strip() == here


def test_suggestions_do_not_depend_on_threads_or_global_generators(build):
    expected = rounds(build(SPACE, seed=3), 3)
    num_threads = torch.get_num_threads()
    state = torch.random.get_rng_state()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(99)
        before = torch.random.get_rng_state()
        assert rounds(build(SPACE, seed=3), 3) == expected
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(num_threads)
        torch.random.set_rng_state(state)


@pytest.mark.parametrize("rounds_before", [0, 1, 3])
def test_a_restored_controller_continues_as_the_first_would(build, space, rounds_before: int):
    first = build(space, seed=4)
    rounds(first, rounds_before)
    first.suggest(2)  # between an update and the next, too
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build(space, seed=4)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert rounds(second, 3) == rounds(first, 3)


def test_a_generation_without_a_score_teaches_nothing(build, space):
    """And one with fewer scores than candidates is learnt from."""
    first, second = build(space, seed=4), build(space, seed=4)
    for controller in (first, second):
        rounds(controller, 1)
    assert isinstance(first.update([]), dict)
    assert rounds(first, 1) == rounds(second, 1)
    few = first.suggest(5)[:1]
    first.update(rollouts(few))
    assert len(first.suggest(5)) == 5


def test_every_suggestion_is_allowed(build, space):
    controller = build(space, seed=6)
    for suggestion in rounds(controller, 20, size=20):
        space.decode(suggestion.tokens)
        assert suggestion.log_probs is None or sum(suggestion.log_probs) < 0


def test_two_generations_are_different_candidates(build, space):
    controller = build(space, seed=0)
    first, second = controller.suggest(8), controller.suggest(8)
    assert len({s.tokens for s in first + second}) == 16
