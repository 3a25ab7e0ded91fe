"""A training that goes on from a state is the one that was never interrupted, to the last bit."""

from dataclasses import replace

import pytest
import torch
from small_training import ANCHORS, FEW, SETTINGS, Cells, make_batches
from torch import Tensor
from torch.testing import assert_close

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.optim.optimizer import learning_rate, num_constant_steps
from spinesearch.training.step.state import TrainingState
from spinesearch.training.step.train import train

CONSTANT = replace(SETTINGS, schedule="constant_decay", decay_at=(0.5,))


def run(
    settings: ProxySettings, num_steps: int, state: bytes | None = None, state_at: int | None = None
) -> tuple[float, list[float], dict[str, Tensor], dict[int, bytes]]:
    """The loss, that of every step taken, all of the model after training, and the state asked for."""
    torch.manual_seed(1)
    model = Cells()
    if state is not None:  # the process that goes on has drawn other numbers by then
        torch.rand(7)
    start = None if state is None else TrainingState.from_bytes(state)
    losses: list[float] = []
    states: dict[int, bytes] = {}
    loss = train(
        model,
        make_batches(FEW)[start.step if start else 0 : num_steps],
        ANCHORS,
        replace(settings, num_steps=num_steps).recipe(0),
        generator=torch.Generator().manual_seed(2),
        on_step=lambda step, loss: losses.append(loss),
        start=start,
        state_at=state_at,
        on_state=lambda state: states.update({state.step: state.to_bytes()}),
    )
    return loss, losses, {key: value.detach() for key, value in model.state_dict().items()}, states


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("step", [1, 4, 8])
def test_goes_on_as_if_it_had_never_stopped(optimizer: str, step: int) -> None:
    settings = replace(SETTINGS, optimizer=optimizer)
    whole, losses, weights, states = run(settings, 9, state_at=step)
    assert list(states) == [step]
    again, later, others, _ = run(settings, 9, state=states[step])
    assert (again, later) == (whole, losses[step:])
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


def test_a_longer_training_goes_on_from_where_a_shorter_one_began_to_decay() -> None:
    """Rungs of 4, 6 and 9 steps: each ends as if it alone had been trained."""
    state, states = None, {}
    for num_steps in (4, 6, 9):
        begin = num_constant_steps(replace(CONSTANT, num_steps=num_steps).recipe(0))
        loss, _, weights, states = run(CONSTANT, num_steps, state, state_at=begin)
        alone, _, others, _ = run(CONSTANT, num_steps)
        assert loss == alone
        for name, value in weights.items():
            assert torch.equal(value, others[name]), name
        (state,) = states.values()


def test_a_state_is_of_its_moment() -> None:
    """The training that goes on changes nothing of it."""
    states: list[TrainingState] = []
    torch.manual_seed(1)
    recipe = replace(SETTINGS, num_steps=9).recipe(0)
    train(
        Cells(),
        make_batches(FEW),
        ANCHORS,
        recipe,
        generator=torch.Generator().manual_seed(2),
        state_at=3,
        on_state=lambda state: states.extend((state, TrainingState.from_bytes(state.to_bytes()))),
    )
    kept, copied = states
    for name in ("model", "optimizer", "augmentation", "random", "losses"):
        assert_close(getattr(kept, name), getattr(copied, name), rtol=0, atol=0)
    assert len(kept.losses) == kept.step == 3


def test_the_constant_rate_and_its_decay() -> None:
    recipe = replace(CONSTANT, num_steps=10, lr=0.5, warmup_steps=2, decay_at=(0.6,)).recipe(0)
    rates = [learning_rate(step, recipe) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125])
