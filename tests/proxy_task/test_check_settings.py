from dataclasses import replace
from typing import Any

import pytest
import torch

from spinesearch.models.backbone import build_backbone
from spinesearch.proxy_task.check import check_settings
from spinesearch.proxy_task.model import build_model, network_cost_of
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.space import SPINENET_49, SPINENET_MOBILE_49
from spinesearch.space.cost.widths import network_widths

SETTINGS = ProxySettings(num_steps=1, endpoints_num_filters=8, head_num_convs=0, device="cpu")
LEVELS = range(1, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"filter_size_scale": 0.001},
            "filter_size_scale: a block at level 1 must keep at least one of its 32 filters, got 0.001; "
            "give at least 0.0313",
        ),
        (
            {"filter_size_scale": 0.0625, "resample_alpha": 0.25},
            "resample_alpha: resampling a block at level 1 must keep at least one of its 2 filters "
            "(at filter_size_scale 0.0625), got 0.25; give at least 0.5, or a larger filter_size_scale",
        ),
        (
            {"batch_size": 1, "image_size": 128},
            "batch_size: must be at least 2 at image_size 128, got 1: the coarsest level is one pixel then, "
            "and batch normalisation needs two values per channel; give a larger batch_size or image_size",
        ),
    ],
)
def test_settings_that_fail_some_candidates_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy_task\.") as caught:
        check_settings(replace(SETTINGS, **changes), LEVELS)
    assert str(caught.value) == f"proxy_task.{message}"


def test_a_fusion_needs_squeezes_and_its_width_is_the_widest_blocks() -> None:
    with pytest.raises(ValueError, match=r"^proxy_task.fusion: must be sum for MBConv blocks.* got weighted"):
        check_settings(replace(SETTINGS, fusion="weighted"), LEVELS, is_mbconv=True)
    narrow = replace(SETTINGS, filter_size_scale=0.0625, resample_alpha=0.25, fusion="attention")
    check_settings(narrow, LEVELS)  # a quarter of level 4's 16 filters, where level 1 has 2
    build_model(SPINENET_49, narrow, num_classes=2)


@pytest.mark.parametrize("image_size", [128, 256])
def test_one_image_per_batch_is_refused_exactly_where_it_cannot_train(image_size: int) -> None:
    settings = replace(SETTINGS, filter_size_scale=0.0625, resample_alpha=0.5, image_size=image_size)
    settings = replace(settings, batch_size=1)
    model = build_model(SPINENET_49, settings, num_classes=2).train()
    images = torch.zeros(1, 3, image_size, image_size)
    if image_size > 128:
        model(images)
        check_settings(settings, LEVELS)
        return
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(images)
    with pytest.raises(ValueError, match="batch_size"):
        check_settings(settings, LEVELS)


def test_widths_are_refused_exactly_where_a_spec_cannot_be_built() -> None:
    levels = {block.level for block in SPINENET_49.all_blocks}  # 2..7
    outcomes = set()
    for scale in (0.01, 1 / 65, 1 / 64, 0.0313, 0.05, 0.125):
        for alpha in (0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0):
            widths = {"filter_size_scale": scale, "resample_alpha": alpha}
            errors = []
            for attempt in (
                lambda widths=widths: build_backbone(SPINENET_49, **widths),
                lambda widths=widths: check_settings(replace(SETTINGS, **widths), levels),
            ):
                try:
                    attempt()
                    errors.append(None)
                except ValueError as error:
                    errors.append(str(error).removeprefix("proxy_task.").split(":")[0])
            assert errors[0] == errors[1], widths
            outcomes.add(errors[0])
    assert outcomes == {None, "filter_size_scale", "resample_alpha"}


def test_the_suggested_widths_are_accepted() -> None:
    check_settings(replace(SETTINGS, filter_size_scale=0.0313, resample_alpha=1.0), LEVELS)
    check_settings(replace(SETTINGS, filter_size_scale=0.0625, resample_alpha=0.5), LEVELS)
    check_settings(replace(SETTINGS, filter_size_scale=0.0625, resample_alpha=0.25), range(2, 8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_device_is_checked_unless_set_otherwise() -> None:
    settings = replace(SETTINGS, device="cuda")
    check_settings(settings, LEVELS, check_device=False)
    with pytest.raises(ValueError, match=r"^proxy_task\.device: is cuda but torch sees no CUDA device; set"):
        check_settings(settings, LEVELS)


@pytest.mark.parametrize("scale", [0.1, 0.125, 0.5])
def test_mbconv_widths_are_refused_exactly_where_a_network_cannot_be_built(scale: float) -> None:
    levels = {block.level for block in SPINENET_MOBILE_49.all_blocks}
    settings = replace(SETTINGS, filter_size_scale=scale, resample_alpha=0.01)  # which they have no use for
    if scale >= 0.125:
        check_settings(settings, levels, is_mbconv=True)
        build_model(SPINENET_MOBILE_49, settings, num_classes=2)
        return
    with pytest.raises(ValueError, match="leaves none of 8 filters"):
        build_model(SPINENET_MOBILE_49, settings, num_classes=2)
    with pytest.raises(
        ValueError, match=r"^proxy_task.filter_size_scale: the stem's first convolution .* 0.125$"
    ):
        check_settings(settings, levels, is_mbconv=True)


def test_a_stem_of_a_given_width_is_not_scaled() -> None:
    levels = {block.level for block in SPINENET_MOBILE_49.all_blocks}
    settings = replace(SETTINGS, filter_size_scale=0.1, stem_filters=8)
    check_settings(settings, levels, is_mbconv=True)
    build_model(SPINENET_MOBILE_49, settings, num_classes=2)


def test_the_mobile_experiment_has_a_width_that_works():
    """At the default proxy's eighth a block of level 1 keeps two channels, and the first convolution one."""
    config = run_config(compose(["experiment=mobile"]))
    settings = config.proxy_task
    assert (config.space.name, settings.activation) == ("spinenet_mbconv", "swish")
    check_settings(settings, range(1, 8), is_mbconv=True, check_device=False)
    wide, narrow = (
        network_widths(SPINENET_MOBILE_49, filter_size_scale=scale, resample_alpha=0.25, stem_filters=None)
        for scale in (settings.filter_size_scale, 0.125)
    )
    assert (wide.stem_conv, min(wide.channels)) == (4, 8)
    assert (narrow.stem_conv, min(narrow.channels)) == (1, 2)
    ours, default = (
        network_cost_of(spec, task, 1).multiply_adds
        for spec, task in ((SPINENET_MOBILE_49, settings), (SPINENET_49, run_config(compose([])).proxy_task))
    )
    assert 0.6 < ours / default < 0.75  # two thirds, as its yaml says
