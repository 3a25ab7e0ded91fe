"""The Model Garden's names, as recorded from its own checkpoints.

Each line of model_garden/*.txt is a layer of a checkpoint that the Model Garden 2.20 wrote under tf-keras
2.21: its place, its name, and its name in the paper's code. Loaded by these, networks of ours (v2) gave
the Model Garden's outputs within 5e-6 of the maximum.
"""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.weights.tf_names import VALUE_SUFFIX, Variable, v1_names
from spinesearch.models.weights.tf_weights import tf_units, tf_variables

RECORDS = Path(__file__).parent / "model_garden"
NETWORKS = ("spinenet49", "spinenet_mobile49", "resnet50_fpn")


def v2_detector(name: str) -> RetinaNet:
    """A network of the layers that were recorded; a narrow SpineNet has no projection in its stem."""
    narrow = {"filter_size_scale": 0.25} if name.startswith("spinenet") and "mobile" not in name else {}
    with torch.device("meta"):
        return build_detector(
            name, num_classes=5, head_num_convs=2, head_num_filters=16, compat="v2", **narrow
        )


def recorded(
    name: str, detector: nn.Module, change: Callable[[str, str], tuple[str, str]] = lambda *row: row
) -> dict[str, Variable]:
    """The variables of a record by their v1 names, in random order, with the shapes of a network of ours."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for variable_name, variable in tf_variables(detector).items():
        layer, _, leaf = variable_name.rpartition("/")
        shapes.setdefault(layer, {})[leaf] = tuple(variable.shape)
    rows = [line.split(" ") for line in (RECORDS / f"{name}.txt").read_text().splitlines()]
    assert shapes.keys() == {layer for _, _, layer in rows}
    variables = {}
    for path, full_name, layer in rows:
        path, full_name = change(path, full_name)
        for leaf, shape in shapes[layer].items():
            variables[f"{layer}/{leaf}"] = Variable(
                f"{path}/{leaf}{VALUE_SUFFIX}", f"{full_name}/{leaf}", shape
            )
    shuffled = list(variables.items())
    random.Random(0).shuffle(shuffled)
    return dict(shuffled)


def named(variables: dict[str, Variable], detector: RetinaNet) -> dict[str, Variable]:
    return v1_names(variables.values(), tf_units(detector.backbone))


@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_names_are_distinguished(name):
    detector = v2_detector(name)
    variables = recorded(name, detector)
    assert variables.keys() == tf_variables(detector).keys()
    assert named(variables, detector) == variables


def older_tensorflow(path: str, name: str) -> tuple[str, str]:
    """One counter for the layers of all blocks, norms with synchronised statistics, and a gap after each."""

    def later(match: re.Match[str]) -> str:
        return f"{match[1]}_{3 * int(match[2] or 0) + 2}"

    name = name.replace("batch_normalization", "sync_batch_normalization")
    if "block" in name:
        return path, re.sub(
            r"(conv2d|normalization)(?:_(\d+))?$", later, name.replace("_block/", "_block_0/")
        )
    is_bare = "layer_with" in path
    return path, re.sub(r"^(.*?)(?:_(\d+))?$", later, name, count=1) if is_bare else name


def unnamed_pyramid(path: str, name: str) -> tuple[str, str]:
    """Releases before 2022 gave the pyramid's layers numbers that go on after the backbone's."""
    match = re.fullmatch(r"(lateral|post_hoc|coarser|norm)_(\d)", name)
    if match is None:
        return path, name
    first = {"lateral": 50, "post_hoc": 53, "coarser": 53, "norm": 60}[match[1]]
    kind = "batch_normalization" if match[1] == "norm" else "conv2d"
    return path, f"{kind}_{first + int(match[2])}"


def backbone_by_itself(path: str, name: str) -> tuple[str, str]:
    return path.replace("model/_backbone/", "model/"), name


def classifier(path: str, name: str) -> tuple[str, str]:
    return path.replace("model/_backbone/", "model/layer_with_weights-0/"), name


def other_attribute(path: str, name: str) -> tuple[str, str]:
    return path.replace("model/_", "detector/retina/"), name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, older_tensorflow) for name in NETWORKS),
        ("resnet50_fpn", unnamed_pyramid),
        ("spinenet49", backbone_by_itself),
        ("spinenet_mobile49", classifier),
        *((name, other_attribute) for name in NETWORKS),
    ],
)
def test_what_other_releases_and_programs_name_otherwise(name, change):
    detector = v2_detector(name)
    variables = recorded(name, detector, change)
    assert variables != recorded(name, detector)
    assert named(variables, detector) == variables


def test_what_belongs_to_no_network_keeps_its_name():
    detector = v2_detector("spinenet49")
    variables = recorded("spinenet49", detector)
    extra = {
        "dense/kernel": Variable(f"model/layer_with_weights-1/kernel{VALUE_SUFFIX}", "dense/kernel", (3, 4)),
        "rpn-conv_0/bias": Variable(f"model/rpn_head/_convs/0/bias{VALUE_SUFFIX}", "rpn-conv_0/bias", (4,)),
    }
    assert named({**extra, **variables}, detector) == {**extra, **variables}


@pytest.mark.parametrize(
    ("network", "other", "message"),
    [
        ("spinenet49", "spinenet_mobile49", "82 batch_normalization where it has 65; 13 bottleneck blocks"),
        (
            "resnet50_fpn",
            "spinenet49",
            "6 batch_normalization where it has 82; 16 bottleneck blocks where it",
        ),
        (
            "spinenet49",
            "spinenet96",
            "13 bottleneck blocks where it has 26; 4 residual blocks where it has 8",
        ),
        ("spinenet_mobile49", "resnet50_fpn", "65 batch_normalization where it has 6"),
    ],
)
def test_another_network_is_reported_by_its_parts(network, other, message):
    variables = recorded(network, v2_detector(network))
    with pytest.raises(ValueError, match=f"^does not fit the model: {message}") as caught:
        named(variables, v2_detector(other))
    assert str(caught.value).count(";") <= 2


def test_blocks_of_other_layers_keep_their_names():
    variables = recorded("spinenet49", v2_detector("spinenet49"))
    with torch.device("meta"):
        wide = build_backbone("spinenet49", compat="v2")
    found = v1_names(variables.values(), tf_units(wide))
    assert set(found.values()) == set(variables.values())
    # The stem's first block has a projection there and none here; all else keeps its v1 name.
    strange = {name for name in found if not name.startswith(("spinenet/", "retinanet/"))}
    assert {name.rpartition("/")[0] for name in strange} == {
        *(f"bottleneck_block/conv2d{suffix}" for suffix in ("", "_1", "_2")),
        *(f"bottleneck_block/batch_normalization{suffix}" for suffix in ("", "_1", "_2")),
    }


def test_a_checkpoint_without_a_backbone_is_reported():
    with pytest.raises(ValueError, match="0 batch_normalization where it has 82; 0 bottleneck blocks"):
        named({}, v2_detector("spinenet49"))
