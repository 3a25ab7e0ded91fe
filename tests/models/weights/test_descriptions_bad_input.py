"""Descriptions beside weights that are none, lie, or are of another file: one line, and nothing half done."""

import json

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import assert_same_state, assert_unchanged_by, tiny_detector

from spinesearch.models.weights.files import load_detector


def test_a_description_with_a_byte_order_mark_is_read(saved, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_bytes(b"\xef\xbb\xbf" + saved.with_suffix(".json").read_bytes())
    assert_same_state(load_detector(tmp_path / "w.safetensors"), load_detector(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("model"), "model: the file has no object of this name"),
        (
            lambda d: d["model"].update(kind="segmenter"),
            "kind must be one of backbone, detector, mask_rcnn, classifier",
        ),
        (lambda d: d["model"].pop("num_classes"), "there is no field 'num_classes'"),
        (lambda d: d["model"].update(depth=3), "there is an unknown field 'depth'"),
        (lambda d: d["model"].update(num_classes="3"), "num_classes must be of type int"),
        (lambda d: d["model"].update(num_classes=True), "num_classes must be of type int"),
        (lambda d: d["model"].update(bn_eps=float("nan")), "bn_eps must be"),
        (lambda d: d["model"].update(activation="gelu"), "activation: expected one of relu, swish"),
        (lambda d: d["model"].update(compat="v3"), "compat: expected one of v1, v2"),
        (lambda d: d["model"].update(num_classes=4), "head.cls_net.predict.weight has shape"),
        (lambda d: d["model"].update(compat="v2"), "holds weights of compat v1"),
        (lambda d: d["blocks"][3].update(parents=[0, 99]), "block 5: parents must be earlier blocks"),
        (lambda d: d.update(resnet_depth=51), "depth: must be one of 50, 101, 152"),
        (lambda d: d.update(resnet_depth=50), "there is an unknown field"),
    ],
)
def test_a_description_that_is_wrong_is_reported(saved, tmp_path, change, message):
    description = json.loads(saved.with_suffix(".json").read_text())
    change(description)
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=message) as caught:
        load_detector(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, b"\xff"])
def test_a_description_that_is_no_json_object_is_reported(saved, tmp_path, text):
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"w.json: "):
        load_detector(tmp_path / "w.safetensors")


def test_files_of_a_later_release_are_reported(saved, tmp_path):
    save_file(load_file(saved), tmp_path / "w.safetensors", {"format_version": "2"})
    assert_unchanged_by(tiny_detector(1), tmp_path / "w.safetensors", "reads version 1, got '2'")


def test_weights_of_another_activation_are_refused(saved):
    assert_unchanged_by(tiny_detector(1, activation="swish"), saved, "holds weights of activation relu")


@pytest.mark.parametrize(("field", "value"), [("num_classes", 10**9), ("block_repeats", 10**7)])
def test_a_description_of_a_network_larger_than_its_file_is_refused_unbuilt(saved, tmp_path, field, value):
    description = json.loads(saved.with_suffix(".json").read_text())
    description["model"][field] = value
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"w.json: model: a network of \d+ parameters"):
        load_detector(tmp_path / "w.safetensors")


def test_a_description_of_another_saving_is_refused(saved, tmp_path):
    description = json.loads(saved.with_suffix(".json").read_text())
    description["model"]["bn_eps"] = 0.5  # nothing in the weights shows it
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps(description))
    with pytest.raises(
        ValueError, match=r"w.json: does not describe the network that w.safetensors was saved"
    ):
        load_detector(tmp_path / "w.safetensors")
