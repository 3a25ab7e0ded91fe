"""A long training ends the same however often it is interrupted, and refuses what is not its own."""

import errno
import json
from pathlib import Path

import pytest
import torch
from tiny_training import NUM_IMAGES, assert_equal_states, open_tiny, settings, tiny_model, train_in

from spinesearch.training.input.augment import Batch, draw
from spinesearch.training.input.batches import load_batch
from spinesearch.training.optim.optimizer import FlatOptimizer
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.run.averaging import WeightAverage
from spinesearch.training.run.batch_step import BatchStep
from spinesearch.training.run.frozen import freeze
from spinesearch.training.run.long_training import Stopped
from spinesearch.training.run.train_checkpoint import CheckpointError, TrainCheckpoints
from spinesearch.training.step.divergence import TrainingDiverged

NUM_STEPS = 6  # two epochs of twelve images in batches of four


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_tiny(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The network at the end of the training that the others are compared with."""
    return train_in(tmp_path_factory.mktemp("whole"), data, settings())[1]


def stopped(folder: Path, data, wanted, at: int) -> None:
    with pytest.raises(Stopped):
        train_in(folder, data, wanted, stop_at=at)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon", "average_decay": 0.9, "micro_batch_size": 3},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"frozen": ("backbone",)}, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_bit_equal(changes, data, tmp_path):
    wanted = settings(**changes)
    whole, expected = train_in(tmp_path / "whole", data, wanted)
    assert whole.measured_at == [3, NUM_STEPS]
    stopped(tmp_path / "parts", data, wanted, 2)
    stopped(tmp_path / "parts", data, wanted, 5)
    rest, found = train_in(tmp_path / "parts", data, wanted, measured=(3,))
    assert rest.began == [5]
    assert rest.losses == whole.losses[5:]
    assert_equal_states(found, expected)
    assert rest.measurements[-1].scores == whole.measurements[-1].scores


def test_a_killed_training_goes_on_from_the_last_epoch(data, undisturbed, tmp_path):
    wanted = settings()

    class Killed(BaseException):
        pass

    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train_in_killed(folder, data, wanted, Killed)
    assert TrainCheckpoints(folder, {}).steps() == [3]
    rest, found = train_in(folder, data, wanted)
    assert rest.began == [3]
    assert_equal_states(found, undisturbed)


def train_in_killed(folder: Path, data, wanted, error: type[BaseException]) -> None:
    from tiny_training import Notes

    real = Notes.stepped

    def stepped(self, step: int, loss: float, lr: float) -> None:
        real(self, step, loss, lr)
        if step == 4:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Notes, "stepped", stepped)
        train_in(folder, data, wanted)


def test_two_checkpoints_are_kept_and_a_torn_one_is_passed_over_by_name(data, undisturbed, tmp_path):
    wanted = settings()
    folder = tmp_path / "torn"
    stopped(folder, data, wanted, 2)
    stopped(folder, data, wanted, 4)
    checkpoints = TrainCheckpoints(folder, {"model": "tiny"})
    assert checkpoints.steps() == [3, 4]
    path = checkpoints.path(4)
    path.write_bytes(path.read_bytes()[:-1000])
    rest, found = train_in(folder, data, wanted)
    assert rest.began == [3]
    assert len(rest.warnings) == 1
    assert f"{path}: is torn or damaged" in rest.warnings[0]
    assert rest.warnings[0].endswith("it is passed over for the one before it")
    assert_equal_states(found, undisturbed)


def test_a_changed_byte_in_a_checkpoint_is_noticed(data, tmp_path):
    wanted = settings()
    stopped(tmp_path, data, wanted, 2)
    checkpoints = TrainCheckpoints(tmp_path, {"model": "tiny"})
    content = bytearray(checkpoints.path(2).read_bytes())
    content[-5000] ^= 1
    checkpoints.path(2).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-000000002.ckpt: is torn or damaged"):
        checkpoints.load(2)


def test_another_trainings_checkpoint_is_refused_by_name(data, tmp_path):
    wanted = settings()
    identity = {"model": "tiny", "classes": ["a", "b"], "train.batch_size": 4}
    stopped_with(tmp_path, data, wanted, identity)
    for key, other in (("model", "large"), ("classes", ["a"]), ("train.batch_size", 8)):
        message = rf"step-000000002.ckpt: is the state of another training: its {key} is .*, this one's "
        with pytest.raises(CheckpointError, match=message) as error:
            train_in(tmp_path, data, wanted, identity={**identity, key: other})
        assert json.dumps(other) in str(error.value)


def stopped_with(folder: Path, data, wanted, identity) -> None:
    with pytest.raises(Stopped):
        train_in(folder, data, wanted, stop_at=2, identity=identity)


def test_a_full_disk_during_a_checkpoint_ends_nothing(data, undisturbed, tmp_path, monkeypatch):
    wanted = settings()
    real = TrainCheckpoints.save

    def save(self, step: int, content: bytes) -> None:
        if step == NUM_STEPS:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, step, content)

    monkeypatch.setattr(TrainCheckpoints, "save", save)
    notes, found = train_in(tmp_path / "full", data, wanted)
    assert_equal_states(found, undisturbed)
    assert len(notes.warnings) == 1
    assert "step-000000006.ckpt: could not be written: No space left on device" in notes.warnings[0]
    assert TrainCheckpoints(tmp_path / "full", {}).steps() == [3]


def test_a_loss_that_is_not_finite_ends_the_training_at_that_step(data, tmp_path):
    wanted = settings(lr=1e30)
    with pytest.raises(TrainingDiverged) as error:
        train_in(tmp_path, data, wanted)
    assert error.value.step < NUM_STEPS


def test_frozen_parts_keep_weights_and_statistics(data, tmp_path):
    wanted = settings(frozen=("backbone", "head.box_net"), weight_decay=0.1)
    before = tiny_model(wanted).state_dict()
    _, after = train_in(tmp_path, data, wanted)
    for name, tensor in after.items():
        is_frozen = name.startswith(("backbone.", "head.box_net."))
        if is_frozen:
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(after["head.cls_net.predict.weight"], before["head.cls_net.predict.weight"])


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"train.frozen: .* no part called 'neck'; give backbone, head"):
        freeze(tiny_model(settings()), ["neck"])
    with pytest.raises(ValueError, match=r"train.frozen: nothing is left to train"):
        freeze(tiny_model(settings()), ["backbone", "head"])


def test_micro_batches_take_the_step_of_the_whole_batch(data):
    """But for batch normalisation, which is frozen here, and rounding: losses are divided by all matches."""
    wanted = settings(stochastic_depth_rate=0.0, lr=1.0)
    batch = load_batch(data, data.train_index[:8], torch.device("cpu"))
    draws = draw(8, torch.Generator().manual_seed(0))
    found = [_step(data, wanted, batch, draws, size) for size in (None, 1, 3)]
    for loss, norm, state in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-5, atol=0)
        torch.testing.assert_close(norm, found[0][1], rtol=1e-4, atol=0)
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, found[0][2][name], rtol=1e-4, atol=1e-6, msg=name)


def _step(data, wanted, batch: Batch, draws, size: int | None):
    from spinesearch.models.heads.anchors import make_anchors

    model = tiny_model(wanted).eval()
    recipe = wanted.recipe(NUM_IMAGES)
    step = BatchStep(
        model,
        make_anchors(128, num_scales=1, base_anchor=3.0),
        recipe,
        FlatOptimizer(model, recipe),
        micro_batch_size=size,
        group=ProcessGroup(),
        seed=0,
    )
    loss, norm = step.take(0, batch, draws)
    return loss, norm, {name: p.detach() for name, p in model.named_parameters()}


def test_the_average_follows_the_weights_and_steps_aside():
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.update(1)  # keeps (1 + 1) / (10 + 1) of the old
    average.update(100)  # keeps a half
    expected = 1 - 2 / 11 / 2
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), torch.full((1, 2), expected))
    assert model.weight.detach().eq(1.0).all()
