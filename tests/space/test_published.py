"""The published models are the ones of the sources, and are found by any spelling of their names."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from spinesearch import SpecError, preset
from spinesearch.space import (
    PUBLISHED,
    R0_SP53,
    R23_SP30,
    SPINENET_49,
    SPINENET_MOBILE_49,
    ResNetSpec,
    backbone_cost,
    detector_cost,
)
from spinesearch.space.published import PROTOCOLS, BackboneScaling, HeadScaling, Reported, published
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN

NAMES = [
    "spinenet49s",
    "spinenet49",
    "spinenet96",
    "spinenet143",
    "spinenet190",
    "spinenet_mobile49",
    "spinenet_mobile49s",
    "spinenet_mobile49xs",
    "r0_sp53",
    "r23_sp30",
    "resnet50_fpn",
    "resnet101_fpn",
    "resnet152_fpn",
]

# Sections 1 and 3 of the reference, typed out: architecture, width, alpha, repeats, endpoints, head, input.
SCALING = {
    "spinenet49s": (SPINENET_49, 0.65, 0.5, 1, 256, (4, 128, False), 640),
    "spinenet49": (SPINENET_49, 1.0, 0.5, 1, 256, (4, 256, False), 640),
    "spinenet96": (SPINENET_49, 1.0, 0.5, 2, 256, (4, 256, False), 1024),
    "spinenet143": (SPINENET_49, 1.0, 1.0, 3, 256, (4, 256, False), 1280),
    "spinenet190": (SPINENET_49, 1.3, 1.0, 4, 512, (7, 512, False), 1280),
    "spinenet_mobile49": (SPINENET_MOBILE_49, 1.0, 0.5, 1, 48, (4, 48, True), 384),
    "spinenet_mobile49s": (SPINENET_MOBILE_49, 0.65, 0.5, 1, 40, (4, 40, True), 384),
    "spinenet_mobile49xs": (SPINENET_MOBILE_49, 0.6, 0.5, 1, 24, (4, 24, True), 256),
    "r0_sp53": (R0_SP53, 1.0, 0.5, 1, 256, (4, 256, False), 640),
    "r23_sp30": (R23_SP30, 1.0, 0.5, 1, 256, (4, 256, False), 640),
    "resnet50_fpn": (ResNetSpec(depth=50), 1.0, 0.5, 1, 256, (4, 256, False), 640),
    "resnet101_fpn": (ResNetSpec(depth=101), 1.0, 0.5, 1, 256, (4, 256, False), 1024),
    "resnet152_fpn": (ResNetSpec(depth=152), 1.0, 0.5, 1, 256, (4, 256, False), 1280),
}

# Section 6 of the reference.
AP = {
    "spinenet49s": {"B": (39.5, 39.9), "C": (41.5, 41.5)},
    "spinenet49": {
        "A": (40.8, 40.8),
        "B": (42.8, 42.8),
        "C": (44.3, 44.3),
        "B @896": (45.3, 45.3),
        "C @896": (46.7, 46.7),
    },
    "spinenet96": {"B": (46.7, 47.1), "C": (48.5, 48.6)},
    "spinenet143": {"B": (48.0, 48.1), "C": (50.6, 50.7)},
    "spinenet190": {"C": (52.0, 52.1)},
    "r0_sp53": {"A": (40.7, 40.7)},
    "r23_sp30": {"A": (39.6, 39.6)},
    "resnet50_fpn": {"A": (37.8, 37.8), "B": (40.4, 40.4)},
}


def test_the_models_are_these_in_this_order():
    assert list(PUBLISHED) == [model.name for model in PUBLISHED.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_the_sources(name: str):
    arch, width, alpha, repeats, endpoints, head, input_size = SCALING[name]
    model = published(name)
    assert model.arch == arch
    assert model.backbone == BackboneScaling(
        filter_size_scale=width,
        resample_alpha=alpha,
        block_repeats=repeats,
        endpoints_num_filters=endpoints,
    )
    assert dataclasses.astuple(model.head) == head
    assert model.head == HeadScaling(num_convs=head[0], num_filters=head[1], is_separable=head[2])
    assert model.input_size == input_size
    assert model.source


@pytest.mark.parametrize("name", AP)
def test_ap_is_the_sources(name: str):
    assert published(name).ap == AP[name]


@pytest.mark.parametrize("name", NAMES)
def test_figures_make_sense(name: str):
    model = published(name)
    assert (model.parameters is None) == (model.multiply_adds is None)
    for protocol, (low, high) in model.ap.items():
        assert protocol.split(" ")[0] in PROTOCOLS
        assert 20 < low <= high < 60


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        str.title,
        lambda name: name.replace("_", "-"),
        lambda name: name.replace("_", " "),
        lambda name: name.replace("spinenet", "SpineNet-"),
        lambda name: f"  {name.replace('_', '')}\n",
    ],
)
def test_names_may_be_spelt_in_any_way(name: str, spell):
    assert published(spell(name)) is PUBLISHED[name]


def test_presets_may_be_spelt_in_any_way():
    assert preset("SpineNet-49") is preset("spinenet49") is SPINENET_49
    assert preset("R0-SP53") is R0_SP53
    assert preset("spinenet mobile 49") is SPINENET_MOBILE_49


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("spinenet49xs", "did you mean .*spinenet49s"),
        ("mobile49", "did you mean spinenet_mobile49, "),
        ("SpineNet-95", "did you mean spinenet96, "),
        ("R50-FPN", "did you mean resnet50_fpn, "),
        ("yolo", "there are r0_sp53, .*spinenet_mobile49xs$"),
        ("", "there are r0_sp53, "),
    ],
)
def test_unknown_names_offer_the_nearest(name: str, nearest: str):
    with pytest.raises(SpecError, match=f"nothing published is called {name!r}; {nearest}") as error:
        published(name)
    assert "\n" not in str(error.value)


def test_models_are_fixed_and_can_be_kept():
    model = published("spinenet49")
    assert len(set(PUBLISHED.values())) == len(PUBLISHED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.input_size = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        PUBLISHED["x"] = model  # type: ignore[index]
    assert pickle.loads(pickle.dumps(model)) == model
    assert dataclasses.asdict(model)["backbone"]["endpoints_num_filters"] == 256


def test_reported_figures_print_as_the_sources_print_them():
    assert str(Reported(39.5, 39.9)) == "39.5-39.9"
    assert str(Reported(42.8, 42.8)) == "42.8"


def test_resnets():
    # Table 1 of arXiv 1512.03385: a depth counts the first convolution, 3 per bottleneck, and the classifier.
    for depth in (50, 101, 152):
        spec = ResNetSpec(depth=depth)
        assert 2 + 3 * sum(spec.num_blocks) == depth
        assert spec.name == f"resnet{depth}_fpn"
        assert published(spec.name).arch == spec
        assert pickle.loads(pickle.dumps(spec)) == spec
    with pytest.raises(SpecError, match="depth: must be one of 50, 101, 152, got 34"):
        ResNetSpec(depth=34)


def documented_rows(num_cells: int) -> list[list[str]]:
    """The rows of docs/models.md that begin with a model and have so many cells."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [row for row in rows if len(row) == num_cells]


def test_the_documented_masks_are_what_is_computed():
    """Every row of the table of Mask R-CNNs, digit by digit."""
    rows = documented_rows(8)
    assert [row[0].strip("`") for row in rows] == [*PUBLISHED_MASK_RCNN]
    for (_, size, counted, metric, *printed), model in zip(rows, PUBLISHED_MASK_RCNN.values(), strict=True):
        cost, figures = model.cost(), model.figures.values()
        assert size == str(model.input_size)
        assert counted == f"{cost.parameters / 1e6:.3f} / {three_digits(cost.multiply_adds / 1e9)}"
        assert metric == three_digits(cost.profiler_multiply_adds / 1e9)
        assert printed == [
            str(model.parameters),
            " / ".join(str(one.multiply_adds or "-") for one in figures),
            *(f"{one.box_ap or '-'} / {one.mask_ap or '-'}" for one in figures),
        ]


def test_the_documented_table_is_what_is_computed():
    """Every row of the table of detectors, digit by digit."""
    rows = documented_rows(9)
    assert list(dict.fromkeys(row[0].strip("`") for row in rows)) == NAMES
    for name, input_size, backbone, detector, metric, printed, *aps in rows:
        model = published(name.strip("`"))
        scaling, head = dataclasses.asdict(model.backbone), dataclasses.asdict(model.head)
        of_head = {f"head_{key}": value for key, value in head.items()}
        costs = (
            backbone_cost(model.arch, int(input_size), **scaling),
            detector_cost(model.arch, int(input_size), num_classes=91, **scaling, **of_head),
        )
        for cost, shown in zip(costs, (backbone, detector), strict=True):
            assert shown == f"{cost.parameters / 1e6:.3f} / {three_digits(cost.multiply_adds / 1e9)}"
        assert metric == three_digits(costs[1].profiler_multiply_adds / 1e9)
        at = "" if int(input_size) == model.input_size else f" @{input_size}"
        assert aps == [str(model.ap.get(f"{protocol}{at}", "-")) for protocol in "ABC"]
        if not at:
            assert printed == (f"{model.parameters} / {model.multiply_adds}" if model.parameters else "-")


def three_digits(number: float) -> str:
    return f"{number:.3f}" if number < 10 else f"{number:.2f}"
