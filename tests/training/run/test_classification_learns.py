"""SpineNet-49 and ResNet-50 learn the classes of drawn objects; interrupted, they end at the same bits."""

import runpy
from pathlib import Path

import pytest
import torch
from tiny_training import Notes, assert_equal_states

from spinesearch.data.open import ClassDataSettings, ProxyData, open_training_data
from spinesearch.search.training.model_source import build_source, published_source
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.run.long_training import LongTraining, Stopped
from spinesearch.training.run.train_checkpoint import TrainCheckpoints
from spinesearch.training.run.train_settings import TrainSettings

EXAMPLE = Path(__file__).parents[3] / "examples" / "object_folders.py"
CHANCE = 1 / 5  # of five classes
MARGIN = 0.3  # above it, in top-1; 0.53 and 0.70 were measured
SETTINGS = TrainSettings(
    task="classification",
    image_size=64,
    filter_size_scale=0.125,
    stem_filters=16,
    resample_alpha=0.25,
    endpoints_num_filters=32,
    bn_momentum=0.1,
    num_epochs=5,
    batch_size=16,
    optimizer="muon",
    lr=0.05,
    adam_lr=4e-3,
    weight_decay=0.0,
    schedule="cosine",
    warmup_epochs=1,
    eval_every_epochs=5,
    device="cpu",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProxyData:
    """Some 490 objects to train on and 120 to validate on, from 120 and 30 drawn images."""
    folder = tmp_path_factory.mktemp("objects")
    write_folders = runpy.run_path(str(EXAMPLE))["write_folders"]
    write_folders(folder / "objects", num_images=120, num_val_images=30)
    settings = ClassDataSettings(
        train_images=str(folder / "objects" / "train"),
        val_images=str(folder / "objects" / "val"),
        cache_dir=str(folder / "cache"),
    )
    return open_training_data(settings, pack_size=64, image_size=64)


def train(
    name: str, data: ProxyData, folder: Path, stop_at: int | None = None
) -> tuple[Notes, torch.nn.Module]:
    """What a training tells of itself, and its network; stopped after so many steps."""
    torch.manual_seed(0)
    model = build_source(published_source(name), SETTINGS, data.class_names)
    notes = Notes()
    training = LongTraining(
        model,
        data,
        SETTINGS,
        seed=0,
        checkpoints=TrainCheckpoints(folder, {}),
        group=ProcessGroup(),
        should_stop=lambda: len(notes.losses) == stop_at,
    )
    folder.mkdir(exist_ok=True)
    training.run(notes)
    return notes, model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spinenet49", "resnet50_fpn"])
def test_it_learns_and_goes_on_where_it_was_stopped(name: str, data: ProxyData, tmp_path: Path):
    notes, model = train(name, data, tmp_path / "whole")
    assert notes.measurements[-1].scores.summary["top1"] >= CHANCE + MARGIN
    with pytest.raises(Stopped):
        train(name, data, tmp_path / "parts", stop_at=70)
    resumed, other = train(name, data, tmp_path / "parts")
    assert resumed.began == [70]
    assert notes.losses[70:] == resumed.losses
    assert_equal_states(model.state_dict(), other.state_dict())
    assert resumed.measurements == notes.measurements
