"""Weight files of other networks, damaged ones, places that take no file: one line, and nothing half done."""

import errno
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import HEAD, NARROW, TINY, assert_same_state, assert_unchanged_by, tiny_detector
from torch import nn

from spinesearch.models.heads.detector import build_detector
from spinesearch.models.weights.files import load_detector, load_weights, save_weights
from spinesearch.space import ArchSpec


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"num_classes": 4},
            r"head.cls_net.predict.weight has shape \[6, 8, 3, 3\] where the model has \[8, 8, 3, 3\]; "
            r"head.cls_net.predict.bias has shape \[6\] where the model has \[8\]$",
        ),
        (
            {"filter_size_scale": 0.125},
            r"backbone.blocks.0.0.shortcut.conv.weight has shape \[16, 64, 1, 1\] where the model has "
            r"\[32, 64, 1, 1\]; .*; .*; and \d+ more$",
        ),
        ({"head_num_convs": 2}, r"head.cls_net.convs.1.weight is missing; .*; .*; and \d+ more$"),
        ({"head_num_convs": 0}, r"head.*; and \d+ more$"),
        ({"block_repeats": 2}, r"backbone.blocks.0.1.* is missing; .*; .*; and \d+ more$"),
        ({"compat": "v2"}, "holds weights of compat v1, but the model's compat is v2"),
    ],
)
def test_another_network_is_reported_by_name_and_stays_as_it_was(saved, kwargs, message):
    assert_unchanged_by(tiny_detector(1, **kwargs), saved, f"w.safetensors: .*{message}")


def test_weights_left_over_are_named(saved):
    assert_unchanged_by(
        tiny_detector(1, head_num_convs=0, head_num_filters=8),
        saved,
        r"does not fit the model: head.box_net.convs.0.bias is left over; .* and \d+ more$",
    )


def swapped(spec: ArchSpec) -> ArchSpec:
    """The same network, the parents of one block in the other order."""
    first = spec.blocks[0]
    turned = replace(first, parents=first.parents[::-1])
    return ArchSpec(blocks=(turned, *spec.blocks[1:]), stem=spec.stem)


def test_weights_that_only_seem_to_fit_are_refused(saved):
    torch.manual_seed(1)
    turned = build_detector(swapped(TINY), **NARROW, **HEAD)
    assert turned.backbone.spec.arch_id == TINY.arch_id
    assert_unchanged_by(turned, saved, "parents in another order")
    # Another graph whose weights have the same names and shapes: the last block reads 4 where it read 3.
    rewired = TINY.to_tuples()
    rewired[4] = (7, "bottleneck", (4, 5), True)
    other = build_detector(ArchSpec.from_tuples(rewired), **NARROW, **HEAD)
    different = [
        name for name, tensor in other.state_dict().items() if tensor.shape != turned.state_dict()[name].shape
    ]
    assert not different
    assert_unchanged_by(other, saved, f"holds weights of arch_id {TINY.arch_id}, but the model's")


@pytest.mark.parametrize("length", [4, 8, 100, 100_000, -1])
def test_a_file_that_breaks_off_is_said_to_be_cut_short(saved, tmp_path, length):
    cut, whole = tmp_path / "w.safetensors", saved.read_bytes()
    cut.write_bytes(whole[:length])
    total = len(whole) if length in (100_000, -1) else 8 + int.from_bytes(whole[:8], "little")
    size, needed = len(whole[:length]), 8 if length == 4 else total
    message = (
        f"w.safetensors: is cut short, {size:,} of at least {needed:,} bytes are there; download or copy"
    )
    assert_unchanged_by(tiny_detector(1), cut, message)
    (tmp_path / "w.json").write_bytes(saved.with_suffix(".json").read_bytes())
    with pytest.raises(ValueError, match=message):
        load_detector(cut)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download or copy it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer.*; fetch them with git lfs pull",
        ),
        (b"<!DOCTYPE html><html>", "is an HTML page.*; download or copy it again"),
        (
            b"PK\x03\x04" + bytes(100),
            "is a ZIP archive, as torch.save writes, too; give the safetensors file",
        ),
        (b"\x1f\x8b\x08" + bytes(100), "is compressed by gzip; give the safetensors file itself"),
        (b"\x09" + bytes(7) + b"{no JSON}", "is damaged or not a safetensors file"),
        (b"\x14" + bytes(7) + b'{"w": {"x": [1, 2]}}', "is damaged or not a safetensors file"),
        (bytes(100), "is damaged or not a safetensors file"),
        (b"\xff" * 100, "is damaged or not a safetensors file"),
    ],
)
def test_what_stands_in_the_place_of_weights_is_called_by_name(tmp_path, content, message):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert_unchanged_by(tiny_detector(1), path, f"w.safetensors: {message}")


def test_more_bytes_than_the_header_says_are_damage(saved, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes() + b"xx")
    assert_unchanged_by(tiny_detector(1), tmp_path / "w.safetensors", "is damaged or not a safetensors file")


def test_pickles_are_not_opened(tmp_path, capfd):
    class Trap:
        def __reduce__(self):
            return print, ("code ran",)

    for write in (lambda path: torch.save(Trap(), path), lambda path: path.write_bytes(pickle.dumps(Trap()))):
        path = tmp_path / "w.safetensors"
        write(path)
        assert_unchanged_by(tiny_detector(1), path, "is a ZIP archive, as torch.save|not a safetensors file")
    assert "code ran" not in capfd.readouterr().out


def test_wrong_paths_are_reported(saved, tmp_path):
    detector = tiny_detector(1)
    for path in (tmp_path / "none.safetensors", tmp_path):
        assert_unchanged_by(detector, path, "there is no such file")
        with pytest.raises(ValueError, match="there is no such file"):
            load_detector(path)
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    with pytest.raises(ValueError, match=r"w.safetensors: there is no .*w.json, which belongs beside it"):
        load_detector(tmp_path / "w.safetensors")


def test_integers_are_no_weights(saved, tmp_path):
    tensors = load_file(saved)
    name = "backbone.stem_conv.conv.weight"
    tensors[name] = tensors[name].to(torch.int32)
    save_file(tensors, tmp_path / "w.safetensors")
    assert_unchanged_by(tiny_detector(1), tmp_path / "w.safetensors", f"{name} holds torch.int32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w.pt", "must end in .safetensors"),
        ("none/w.safetensors", "there is not a folder"),
        ("folder.safetensors", "exists already"),
    ],
)
def test_targets_that_cannot_be_are_reported_before_anything_is_done(tmp_path, name, message):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=message):
        save_weights(tiny_detector(), tmp_path / name, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_a_full_disk_leaves_nothing_half_written(saved, tmp_path):
    """A limit on the size of files stops the writing where a full disk would."""
    before = saved.read_bytes()
    (tmp_path / "w.safetensors").write_bytes(before)
    detector = load_detector(saved)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/w\.safetensors'$") as caught:
            save_weights(detector, tmp_path / "w.safetensors", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert (tmp_path / "w.safetensors").read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder where even root cannot write")
def test_a_folder_that_takes_no_files_is_reported():
    with pytest.raises(OSError, match=r"'/proc/self/w\.json'$"):
        save_weights(tiny_detector(), "/proc/self/w.safetensors")


def test_networks_without_memory_are_reported(saved, tmp_path):
    with torch.device("meta"):
        detector = build_detector(TINY, **NARROW, **HEAD)
    with pytest.raises(ValueError, match="meta device"):
        load_weights(detector, saved)
    with pytest.raises(ValueError, match="meta device"):
        save_weights(detector, tmp_path / "w.safetensors")


def test_other_modules_are_reported(saved, tmp_path):
    for module in (nn.Linear(1, 1), tiny_detector().head):
        with pytest.raises(TypeError, match="expected a backbone or RetinaNet or MaskRCNN or Classifier"):
            save_weights(module, tmp_path / "w.safetensors")
        with pytest.raises(TypeError, match="expected a backbone or RetinaNet or MaskRCNN or Classifier"):
            load_weights(module, saved)


def test_nothing_is_overwritten_unasked(saved, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"w.safetensors: exists already"):
        save_weights(tiny_detector(), path)
    assert path.read_text() == "precious"
    path.rename(tmp_path / "w.json")
    with pytest.raises(ValueError, match=r"w.json: exists already"):
        save_weights(tiny_detector(), path)
    assert not path.exists()
    save_weights(tiny_detector(), path, overwrite=True)
    assert_same_state(load_detector(path), tiny_detector())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "head.cls_net.predict.bias",
            float("nan"),
            "head.cls_net.predict.bias holds numbers that are not finite",
        ),
        ("backbone.stem_conv.norm.running_var", -1.0, "stem_conv.norm.running_var holds negative numbers"),
    ],
)
def test_numbers_that_no_network_has_are_refused(saved, tmp_path, name, value, message):
    tensors = load_file(saved)
    tensors[name].view(-1)[0] = value
    save_file(tensors, tmp_path / "w.safetensors")
    assert_unchanged_by(tiny_detector(1), tmp_path / "w.safetensors", message)


def test_numbers_too_large_for_the_networks_dtype_are_refused(saved, tmp_path):
    tensors = load_file(saved)
    tensors["head.cls_net.predict.bias"].fill_(1e6)
    save_file(tensors, tmp_path / "w.safetensors")
    assert_unchanged_by(tiny_detector(1).half(), tmp_path / "w.safetensors", "not finite in torch.float16")
