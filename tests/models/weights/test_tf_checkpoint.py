"""Reading checkpoints: what of them counts, where they lie, and, where TensorFlow is installed, real ones."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_detector

from spinesearch.models.backbone import build_backbone
from spinesearch.models.weights.tf_checkpoint import checkpoint_of, open_checkpoint
from spinesearch.models.weights.tf_names import VALUE_SUFFIX, Variable
from spinesearch.models.weights.tf_weights import load_tf_weights, tf_units, tf_variables

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def random_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for name, variable in tf_variables(tiny_detector()).items()
    }


def nothing(key: str) -> Any:
    raise AssertionError(f"{key} was read")


def test_variables_of_a_v1_checkpoint_are_distinguished_from_slots():
    shapes = {
        "spinenet/conv2d/kernel": (7, 7, 3, 64),
        "spinenet/conv2d/kernel/Momentum": (7, 7, 3, 64),
        "spinenet/conv2d/kernel/ExponentialMovingAverage": (7, 7, 3, 64),
        "spinenet/batch_normalization/moving_mean": (64,),
        "spinenet/batch_normalization/gamma/Adam_1": (64,),
        "global_step": (),
        "beta1_power": (),
    }
    checkpoint = checkpoint_of(Path("x"), shapes, {}, nothing)
    assert checkpoint.compat == "v1"
    assert checkpoint.num_ignored == 5
    assert checkpoint.named([]) == {
        name: Variable(name, name, shapes[name])
        for name in ("spinenet/conv2d/kernel", "spinenet/batch_normalization/moving_mean")
    }


def test_variables_of_a_v2_checkpoint_are_distinguished_from_slots():
    kernel = f"model/_backbone/layer_with_weights-0/kernel{VALUE_SUFFIX}"
    slot = f"model/_backbone/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/momentum{VALUE_SUFFIX}"
    shapes = {
        GRAPH: (),
        kernel: (7, 7, 3, 64),
        slot: (7, 7, 3, 64),
        f"optimizer/_variables/3{VALUE_SUFFIX}": (7, 7, 3, 64),
        f"optimizer/iter{VALUE_SUFFIX}": (),
        f"save_counter{VALUE_SUFFIX}": (),
    }
    names = {kernel: "conv2d_3/kernel", slot: "SGD/conv2d_3/kernel/momentum"}
    checkpoint = checkpoint_of(Path("x"), shapes, names, nothing)
    assert checkpoint.compat == "v2"
    assert checkpoint.num_ignored == 4
    assert checkpoint.variables == (Variable(kernel, "conv2d_3/kernel", (7, 7, 3, 64)),)
    with pytest.raises(ValueError, match=r"^x: model/_backbone/.* has no name"):
        checkpoint_of(Path("x"), shapes, {}, nothing)
    with pytest.raises(ValueError, match=r"^x: does not fit the model: "):
        checkpoint.named(list(tf_units(tiny_detector().backbone)))


def test_without_tensorflow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.ckpt-1.index").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match=r"pip install 'spinesearch\[tensorflow\]'"):
        open_checkpoint(tmp_path / "model.ckpt-1")


def test_a_path_without_a_checkpoint_is_reported_before_tensorflow_is_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "model.ckpt-1.index").touch()
    for path in (tmp_path / "model.ckpt-2", tmp_path / "none" / "model", tmp_path / "model.ckpt-2.index"):
        with pytest.raises(ValueError, match="no TensorFlow checkpoint is there"):
            open_checkpoint(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no TensorFlow checkpoint is in this folder"):
        open_checkpoint(tmp_path / "empty")


@pytest.fixture(scope="module")
def tf():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install .[tensorflow]")


def write_v1(tf: Any, prefix: Path, arrays: dict[str, np.ndarray], step: int = 100) -> Path:
    """As the paper's code saves: variables by name, slots and the step beside them."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in arrays.items():
            tf.compat.v1.get_variable(name, initializer=array)
            tf.compat.v1.get_variable(f"{name}/Momentum", initializer=np.zeros_like(array))
        global_step = tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(global_step.assign(step))
        return Path(tf.compat.v1.train.Saver().save(session, str(prefix), global_step=step))


def write_v2(tf: Any, prefix: Path, values: dict[tuple[str, str], np.ndarray]) -> Path:
    """As the Model Garden saves: by place in a tree of objects, given with every variable's name."""
    root = tf.Module()
    for (place, name), array in values.items():
        *objects, last = place.split("/")
        parent = root
        for attribute in objects:
            if not hasattr(parent, attribute):
                setattr(parent, attribute, tf.Module())
            parent = getattr(parent, attribute)
        setattr(parent, last, tf.Variable(array, name=name))
    return Path(tf.train.Checkpoint(model=root, global_step=tf.Variable(7)).save(str(prefix)))


def test_a_real_v1_checkpoint_is_read(tf, tmp_path):
    arrays = random_arrays()
    prefix = write_v1(tf, tmp_path / "model.ckpt", arrays)
    checkpoint = open_checkpoint(prefix)
    assert (checkpoint.compat, checkpoint.path) == ("v1", prefix)
    assert len(checkpoint.variables) == len(arrays)
    assert checkpoint.num_ignored == len(arrays) + 1
    detector = tiny_detector(1)
    load_tf_weights(detector, checkpoint.read(checkpoint.named(list(tf_units(detector.backbone)))))
    for name, variable in tf_variables(detector).items():
        assert np.array_equal(variable.numpy(), arrays[name])


def test_a_real_v2_checkpoint_is_read(tf, tmp_path):
    """The Model Garden's places and names as recorded; every layer holds another number."""
    records = Path(__file__).parent / "model_garden" / "resnet50_fpn.txt"
    values, wanted = {}, {}
    for i, line in enumerate(records.read_text().splitlines()):
        place, name, layer = line.split(" ")
        leaf = "moving_mean" if "norm" in name or layer.endswith("-bn") else "kernel"
        values[f"{place.removeprefix('model/')}/{leaf}", f"{name}/{leaf}"] = np.float32([i])
        wanted[f"{layer}/{leaf}"] = i
    checkpoint = open_checkpoint(write_v2(tf, tmp_path / "ckpt", values))
    assert checkpoint.compat == "v2"
    assert checkpoint.num_ignored == 2  # global_step and save_counter
    with torch.device("meta"):
        named = checkpoint.named(list(tf_units(build_backbone("resnet50_fpn", compat="v2"))))
    assert {name: int(value[0]) for name, value in checkpoint.read(named).items()} == wanted


def test_every_way_to_say_which_checkpoint(tf, tmp_path):
    arrays = {"spinenet/conv2d/kernel": np.zeros((1, 1, 2, 3), np.float32)}
    old = write_v1(tf, tmp_path / "model.ckpt", arrays, 9)
    new = write_v1(tf, tmp_path / "model.ckpt", arrays, 10)
    assert open_checkpoint(old).path == old
    for suffix in (".index", ".meta", ".data-00000-of-00001"):
        assert open_checkpoint(Path(f"{old}{suffix}")).path == old
    assert open_checkpoint(tmp_path).path == new
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "gs://bucket/folder/{old.name}"\n')
    assert open_checkpoint(tmp_path).path == old
    (tmp_path / "checkpoint").unlink()
    os.utime(f"{old}.index", (2e9, 2e9))
    assert open_checkpoint(tmp_path).path == old


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        (".index", lambda data: data[: len(data) // 2]),
        (".index", lambda data: b""),
        (".index", lambda data: b"x" * len(data)),
        (".data-00000-of-00001", lambda data: data[:100]),
        (".data-00000-of-00001", lambda data: bytes([data[0] ^ 1]) + data[1:]),
        (".data-00000-of-00001", None),
    ],
)
def test_a_damaged_checkpoint_is_reported_in_one_line(tf, tmp_path, suffix, change):
    prefix = write_v1(tf, tmp_path / "model.ckpt", {"a/kernel": np.ones(99, np.float32)})
    file = Path(f"{prefix}{suffix}")
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))

    def read() -> None:
        checkpoint = open_checkpoint(prefix)
        checkpoint.read({variable.full_name: variable for variable in checkpoint.variables})

    with pytest.raises(ValueError, match="cannot be read as a TensorFlow checkpoint: ") as caught:
        read()
    assert "\n" not in str(caught.value)
