"""What `make bench-models` compares: the plain port, our network, and ours without this or that."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
from plain_backbone import PlainBackbone

from spinesearch.models import backbone, layers, pointwise, resample
from spinesearch.space import ArchSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """A width to measure at; a random spec gets fewer images where time is short."""

    arguments: dict[str, Any]
    image_side: int
    num_images: int
    num_images_random: int


SCALINGS = {  # 0.25 is the proxy's width, 1.0 the published one
    width: Scaling(
        arguments={"filter_size_scale": width, "resample_alpha": alpha, "endpoints_num_filters": endpoints},
        image_side=side,
        num_images=images,
        num_images_random=images_random,
    )
    for width, alpha, endpoints, side, images, images_random in (
        (0.25, 0.25, 64, 128, 16, 16),
        (1.0, 0.5, 256, 256, 4, 2),
    )
}


def _no(*_: object) -> bool:
    """Replaces a condition that allows a rewrite."""
    return False


def _unfolded(x: Tensor, parts: Sequence[layers.ConvNorm]) -> list[Tensor]:
    """`conv_norms` of evaluation with batch norm as a separate pass."""
    norms = [part.norm for part in parts]
    kernel = torch.cat([part.conv.weight for part in parts]).flatten(1)
    mean, variance, gamma, beta = (
        torch.cat([getattr(norm, name) for norm in norms])
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    out = pointwise._images(F.linear(pointwise._rows(x), kernel), x)
    out = parts[0].activation(F.batch_norm(out, mean, variance, gamma, beta, False, 0.0, norms[0].eps))
    return list(torch.split(out, [part.conv.out_channels for part in parts], dim=1))


def _expand_first(self: resample.Resample, x: Tensor, size: tuple[int, int]) -> Tensor:
    """`Resample.rescale` of evaluation with the expansion before upsampling."""
    before = x.shape[2], x.shape[3]
    if self.down is not None:
        x = resample.single_pool(self.down(x), before, size)
    if resample._grows_by_whole_factors(x, size):
        return layers.resize_nearest(self.expand(x), size)
    out: Tensor = self.expand(layers.resize_nearest(x, size))
    return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A network, and how it differs from the others.

    Attributes:
        name: in the tables.
        network: which of `build_networks` runs.
        patches: what is patched while it runs: module or class, name in it, and value.
        modes: in which it is timed.
    """

    name: str
    network: str = "ours"
    patches: tuple[tuple[Any, str, object], ...] = ()
    modes: tuple[str, ...] = ("training", "evaluation")


PLAIN = Variant(name="plain port, NCHW", network="plain")
VARIANTS = (
    PLAIN,
    Variant(name="plain port, channels last", network="plain, channels last"),
    Variant(name="**ours**"),
    Variant(
        name="ours without statistics from the covariance",
        patches=((pointwise, "MIN_FOLD_ROWS", math.inf),),
        modes=("training",),
    ),
    Variant(
        name="ours without expansion before upsampling",
        patches=((resample, "_grows_by_whole_factors", _no),),
        modes=("training",),
    ),
    Variant(name="ours without merged squeezes", patches=((backbone, "can_rewrite", _no),)),
    Variant(
        name="ours without any of these",
        patches=tuple((module, "can_rewrite", _no) for module in (backbone, layers, resample)),
    ),
    Variant(
        name="not kept: batch norm as a pass of its own",
        patches=((layers, "conv_norms", _unfolded), (backbone, "conv_norms", _unfolded)),
        modes=("evaluation",),
    ),
    Variant(
        name="not kept: expansion before upsampling",
        patches=((resample.Resample, "rescale", _expand_first),),
        modes=("evaluation",),
    ),
)


@contextlib.contextmanager
def patched(variant: Variant) -> Iterator[None]:
    """Within it, networks run as this variant prescribes."""
    with contextlib.ExitStack() as stack:
        for patch in variant.patches:
            stack.enter_context(mock.patch.object(*patch))
        yield


def build_networks(
    spec: ArchSpec, scaling: Scaling, num_images: int, device: str
) -> dict[str, tuple[nn.Module, Tensor]]:
    """By name: networks of the same weights, each with its images."""
    torch.manual_seed(0)
    ours = backbone.ScalePermutedBackbone(spec, **scaling.arguments)
    images = torch.randn(num_images, 3, scaling.image_side, scaling.image_side).to(device)
    channels_last = PlainBackbone(ours).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return {
        "plain": (PlainBackbone(ours).to(device), images),
        "plain, channels last": (channels_last, images.contiguous(memory_format=torch.channels_last)),
        "ours": (ours.to(device), images),
    }
