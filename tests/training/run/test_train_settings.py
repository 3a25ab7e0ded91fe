"""The recipes of long trainings: the paper's numbers, typed out, and what is refused."""

from dataclasses import fields
from importlib import resources

import pytest
import yaml

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import compose
from spinesearch.search.config.sections import TRAINING, choices
from spinesearch.search.training.train_config import train_config
from spinesearch.training.optim.optimizer import learning_rate
from spinesearch.training.run.train_settings import TrainSettings

COCO_IMAGES = 118_287  # of train2017


def settings(*words: str):
    return train_config(compose(list(words), TRAINING)).train


@pytest.mark.parametrize(
    ("name", "num_steps", "tenth_from", "hundredth_from", "jitter", "activation", "depth"),
    [
        ("protocol_a", 115_515, 101_653, 110_894, (0.8, 1.2), "relu", 0.0),
        ("protocol_b", 161_721, 147_859, 157_100, (0.5, 2.0), "relu", 0.0),
        ("protocol_c", 231_029, 217_168, 226_409, (0.5, 2.0), "swish", 0.2),
    ],
)
def test_the_papers_protocols(name, num_steps, tenth_from, hundredth_from, jitter, activation, depth):
    wanted = settings(f"train={name}")
    recipe = wanted.recipe(COCO_IMAGES)
    assert recipe.num_steps == num_steps
    assert recipe.warmup_steps == 2310  # 5 epochs of 462.06 steps
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd", 0.9, 4e-5)
    assert (recipe.batch_size, recipe.clip_norm, recipe.image_size) == (256, 10.0, 640)
    assert recipe.scale_jitter == jitter
    assert (wanted.activation, wanted.stochastic_depth_rate) == (activation, depth)
    assert learning_rate(2310, recipe) == pytest.approx(0.28)
    assert learning_rate(tenth_from - 2, recipe) == pytest.approx(0.28)
    assert learning_rate(tenth_from + 2, recipe) == pytest.approx(0.028)
    assert learning_rate(hundredth_from - 2, recipe) == pytest.approx(0.028)
    assert learning_rate(hundredth_from + 2, recipe) == pytest.approx(0.0028)


@pytest.mark.parametrize(("group", "kind"), [("train", TrainSettings), ("proxy_task", ProxySettings)])
def test_every_recipe_holds_every_setting(group, kind):
    """One that it lacks could not be set where it is chosen, and `--cfg` would not show it."""
    for name in choices(group):
        text = resources.files("spinesearch.conf").joinpath(group, f"{name}.yaml").read_text()
        assert sorted(yaml.safe_load(text)) == sorted(field.name for field in fields(kind)), name


def test_the_learning_rate_grows_with_the_batch():
    assert settings("train=protocol_b", "train.batch_size=64").recipe(COCO_IMAGES).lr == pytest.approx(0.07)
    assert settings("train=quick", "train.batch_size=64").recipe(100).lr == pytest.approx(0.05)


def test_epochs_end_where_all_images_were_seen():
    wanted = settings("train=quick", "train.num_epochs=3", "train.warmup_epochs=0", "train.batch_size=4")
    assert wanted.training_steps(10) == 8  # 7.5, to the even one
    assert [wanted.epoch_of(step, 10) for step in range(9)] == [0, 0, 0, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.num_epochs=0"], r"train.num_epochs: must be a finite number above 0, got 0"),
        (["train.num_epochs=1"], r"train.warmup_epochs: must be less than num_epochs 1, got 1"),
        (["train=finetune", "train.num_epochs=9"], r"train.decay_epochs: must lie before the end"),
        (["train.schedule=constant_decay"], r"train.decay_epochs: .* needs one epoch"),
        (["train.average_decay=1"], r"train.average_decay: must be null or a number in \[0, 1\), got 1"),
        (["train.pack_size=64"], r"train.pack_size: must be at least image_size 256, got 64"),
        (["train.image_size=100"], r"train.image_size: must be a positive multiple of 128"),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        settings(*words)
