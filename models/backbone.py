"""From a spec to the network: `ScalePermutedBackbone`, the multi-scale features of an image.

Shapes: B images of H x W pixels; a feature of level l is [B, C, ceil(H / 2**l), ceil(W / 2**l)].
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.models.blocks import build_repeats
from spinesearch.models.feature_info import FeatureInfo, endpoint_info
from spinesearch.models.fusion import SharedFusion, SumFusion
from spinesearch.models.layers import ConvNorm, build_style, check_images, max_pool_same, refuse_torchscript
from spinesearch.models.pointwise import has_hooks
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.space import OUTPUT_LEVELS, ArchSpec, ResNetSpec
from spinesearch.space.arch.spec_file import load_spec_file, searched_fusion
from spinesearch.space.cost.plan import SizePlan, plan_for_size, stem_strides
from spinesearch.space.cost.widths import network_widths
from spinesearch.space.published import BackboneScaling, HeadScaling, published

_cached_plan = lru_cache(maxsize=1024)(plan_for_size)


class ScalePermutedBackbone(nn.Module):
    """The network of a spec: a stem, the scale-permuted blocks after it, and one endpoint per output level.

    A spec of bottlenecks and residual blocks has a ResNet's 7x7 convolution and pool before its stem blocks,
    which start from level 2; one of MBConv blocks has a 3x3 convolution alone and starts from level 1.

    Every block of the spec is built, because the parameter counts of published models are those of all
    blocks. `forward` skips blocks that no output depends on: their parameters get no gradient
    (``DistributedDataParallel`` then needs ``find_unused_parameters``). In training batch norm needs two
    values per channel, so PyTorch refuses a single image of 128 pixels or less, whose level 7 is one pixel.

    `feature_info` describes the output in the manner of timm. ``torch.export`` takes the network with a fixed
    height and width, and any batch: the sizes decide which pools run and which features are summed, so every
    size needs its own program (and ``torch.compile`` needs ``dynamic=False`` where sizes vary).

    Args:
        spec: the architecture.
        filter_size_scale: factor on every block's width, rounded down; in an MBConv network on the first
            convolution's too.
        resample_alpha: width of a resampling's middle, as a fraction of the parent's 3x3 width, rounded down.
            The resamplings of an MBConv network have no middle.
        endpoints_num_filters: channels of every output feature.
        block_repeats: how many blocks are chained for each block of the spec, the stem's included.
        activation: ``relu``, ``swish`` or ``hard_swish``; by default what the published models have:
            ``swish`` for MBConv blocks and ``relu`` for others.
        stem_filters: of the first convolution; None for what the released code has, 64 however narrow the
            rest, and 8 scaled in MBConv networks.
        stochastic_depth_rate: probability of dropping a sample's branch in the last block. The n-th of N
            scale-permuted blocks has n / N of it, in each repeat; the stem has none.
        bn_momentum: weight of the newest batch in the running statistics (1 - TensorFlow's momentum); by
            default 0.003 in v1 and 0.01 in v2.
        bn_eps: added to the variance by batch normalisation; by default 1e-4 in v1 and 1e-3 in v2.
        compat: ``v1`` is the network of the paper's code; ``v2`` is that of the TensorFlow Model Garden, for
            its checkpoints: TensorFlow's SAME padding throughout, repeated pools in the resamplings, relu and
            a hard sigmoid in squeeze-and-excitation. Both have the same parameters and give other outputs.
            (In the Model Garden's mobile code every repeat of a block reads the same input, so that only the
            last one counts. No published model has repeats there, and here they are chained.)
        fusion: one of `spinesearch.space.cost.fusion.FUSIONS`. ``sum`` is the paper's; ``weighted`` and
            ``attention`` weigh all features that a block depends on (`SharedFusion`), in networks without
            MBConv blocks.

    Raises:
        ValueError: an argument is out of range, a width comes out as zero, the stem's levels do not rise
            from level 2 (level 1 for MBConv blocks) by steps of 0 or 1, or the fusion does not suit.
    """

    def __init__(
        self,
        spec: ArchSpec,
        *,
        filter_size_scale: float = 1.0,
        resample_alpha: float = 0.5,
        endpoints_num_filters: int = 256,
        block_repeats: int = 1,
        stem_filters: int | None = None,
        activation: str | None = None,
        stochastic_depth_rate: float = 0.0,
        bn_momentum: float | None = None,
        bn_eps: float | None = None,
        compat: str = "v1",
        fusion: str = "sum",
    ) -> None:
        super().__init__()
        for name, value in (
            ("block_repeats", block_repeats),
            ("endpoints_num_filters", endpoints_num_filters),
        ):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        self.spec = spec
        self.out_channels = endpoints_num_filters
        if activation is None:
            activation = default_activation(spec)
        style = build_style(activation, compat, bn_momentum=bn_momentum, bn_eps=bn_eps)
        self.arguments: dict[str, Any] = {  # that build the same network again; weight files record them
            "filter_size_scale": filter_size_scale,
            "resample_alpha": resample_alpha,
            "endpoints_num_filters": endpoints_num_filters,
            "block_repeats": block_repeats,
            "stochastic_depth_rate": stochastic_depth_rate,
            **asdict(style),
        }
        blocks, num_stem = spec.all_blocks, len(spec.stem)
        widths = network_widths(
            spec,
            filter_size_scale=filter_size_scale,
            resample_alpha=resample_alpha,
            stem_filters=stem_filters,
            fusion=fusion,
        )
        self.arguments["stem_filters"] = widths.stem_conv
        if fusion != "sum":  # which files of earlier releases do not name
            self.arguments["fusion"] = fusion
        channels = self.block_channels = widths.channels

        self.stem_conv = ConvNorm(3, widths.stem_conv, 3 if spec.is_mbconv else 7, stride=2, style=style)
        # A stem block reads the one before it, any other reads a sum that already has its width.
        in_channels = (widths.stem_conv, *channels[: num_stem - 1], *channels[num_stem:])
        strides = (*stem_strides(spec), *[1] * len(spec.blocks))
        self.blocks = nn.ModuleList(
            build_repeats(
                block.block_type,
                in_channels[i],
                widths.filters[i],
                repeats=block_repeats,
                stride=strides[i],
                stochastic_depth_rate=stochastic_depth_rate * max(i + 1 - num_stem, 0) / len(spec.blocks),
                style=style,
            )
            for i, block in enumerate(blocks)
        )

        self.resamples: SumFusion | SharedFusion = (
            SumFusion(spec, widths, style=style)
            if fusion == "sum"
            else SharedFusion(spec, widths, is_attention=fusion == "attention", style=style)
        )
        self.activation = style.build_activation()
        self.endpoints = nn.ModuleDict(
            {
                str(level): ConvNorm(channels[i], endpoints_num_filters, 1, style=style)
                for level, i in spec.output_ids.items()
            }
        )
        self.feature_info: FeatureInfo = endpoint_info(OUTPUT_LEVELS, endpoints_num_filters)

    __prepare_scriptable__ = refuse_torchscript

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Output features of a batch.

        Args:
            images: [B, 3, H, W], normalised, with sides of at least 32 pixels.

        Returns:
            Per level 3..7, rising: [B, endpoints_num_filters, ceil(H / 2**level), ceil(W / 2**level)].

        Raises:
            ValueError: the images have another shape.
        """
        plan = self._plan(images)
        features = self._run(images, plan, plan.live)
        return {level: self.endpoints[str(level)](features[i]) for level, i in self.spec.output_ids.items()}

    def block_features(self, images: Tensor) -> list[Tensor]:
        """Output of every block, by block id, dead blocks included; images as for `forward`."""
        features = self._run(images, self._plan(images), range(len(self.spec)))
        return list(features.values())

    def _plan(self, images: Tensor) -> SizePlan:
        # torch.compile traces through a cache, and warns that it does.
        plan = plan_for_size if torch.compiler.is_compiling() else _cached_plan
        return plan(self.spec, self.block_channels, *check_images(self, images))

    def _run(self, images: Tensor, plan: SizePlan, wanted: Collection[int]) -> dict[int, Tensor]:
        """Features of the wanted blocks by id, rising; `wanted` must hold all that its blocks read."""
        features: dict[int, Tensor] = {}
        fusing = self.resamples.begin(plan, wanted)
        x = self._stem(images)
        for i in range(len(self.spec)):
            if i not in wanted:
                continue
            if i >= len(self.spec.stem):
                fused = fusing.read(i)
                for j in plan.unresampled[i]:
                    fused = fused.add_(features[j])
                x = self.activation(fused)
            x = features[i] = self.blocks[i](x)
            fusing.put(i, x)
        return features

    def _stem(self, images: Tensor) -> Tensor:
        """Input of the first block."""
        stem = self.stem_conv
        images = images.contiguous(memory_format=torch.channels_last)
        x: Tensor
        if self.spec.is_mbconv:
            x = stem(images)
        elif isinstance(stem.activation, nn.ReLU) and not has_hooks(stem):
            # It commutes with the pool, after which there is less to do.
            x = stem.activation(max_pool_same(stem.norm(stem.conv(images)), (3, 3), (2, 2)))
        else:
            x = max_pool_same(stem(images), (3, 3), (2, 2))
        return x


def build_backbone(
    spec: ArchSpec | ResNetSpec | str | Path, **kwargs: Any
) -> ScalePermutedBackbone | ResNetFPN:
    """Backbone of a spec, of a published model, or of a spec in a JSON file.

    Args:
        spec: the architecture, the name of a published one, which then also gives the defaults of all that is
            left out, or the path of a file that ends in ``.json``, which gives the fusion that its
            architecture was searched with.
        **kwargs: the arguments of `ScalePermutedBackbone`. A ResNet takes the same, but its blocks cannot be
            repeated, and nothing is resampled or fused.

    Raises:
        ValueError: an argument is out of range, or nothing is published under this name.
    """
    arch, arguments, _ = resolve_spec(spec)
    if isinstance(arch, ArchSpec):
        return ScalePermutedBackbone(arch, **{**arguments, **kwargs})
    neutral = {**asdict(BackboneScaling()), "fusion": "sum"}
    for name in ("block_repeats", "resample_alpha", "fusion"):
        if (value := kwargs.pop(name, neutral[name])) != neutral[name]:
            raise ValueError(f"{name}: {arch.name} has none to change, got {value}")
    return ResNetFPN(arch, **{"endpoints_num_filters": arguments["endpoints_num_filters"], **kwargs})


def resolve_spec(
    spec: ArchSpec | ResNetSpec | str | Path,
) -> tuple[ArchSpec | ResNetSpec, dict[str, Any], HeadScaling]:
    """Architecture, default arguments of a backbone and scaling of a head, of what `build_backbone` takes."""
    if isinstance(spec, str) and not spec.endswith(".json"):
        model = published(spec)
        return model.arch, asdict(model.backbone), model.head
    arch, provenance = load_spec_file(spec) if isinstance(spec, str | Path) else (spec, {})
    if not isinstance(arch, ArchSpec | ResNetSpec):
        raise TypeError(
            f"spec: expected an ArchSpec, a published name or the path of a spec file, got {arch!r}"
        )
    is_separable = isinstance(arch, ArchSpec) and arch.is_mbconv
    arguments = {**asdict(BackboneScaling()), "fusion": searched_fusion(provenance)}
    return arch, arguments, HeadScaling(is_separable=is_separable)


def default_activation(arch: ArchSpec | ResNetSpec) -> str:
    """The activation of the published models of this kind: swish for MBConv networks, relu for others."""
    return "swish" if isinstance(arch, ArchSpec) and arch.is_mbconv else "relu"
