"""Fusion of a block's inputs: the paper's sum of two parents, or a weighted sum of all it depends on.

A network runs with one `Summing` or `Weighing`: blocks put their features in, and later blocks read.

Shapes: B images, m channels between squeeze and expansion, K candidates of a block.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.models.layers import ConvNorm, LayerStyle, resize_nearest
from spinesearch.models.mbconv import DepthwiseResample
from spinesearch.models.pointwise import can_rewrite, conv_norms, has_hooks
from spinesearch.models.resample import Resample, halving_pools, single_pool
from spinesearch.space import ArchSpec
from spinesearch.space.cost.fusion import KEY_WIDTH, fusion_candidates
from spinesearch.space.cost.plan import SizePlan
from spinesearch.space.cost.widths import Widths

GATES_SUM = 2.0  # as many as a block has parents, so that two equal gates and no other are the sum of two
OTHER_BIAS = -3.0  # of the gate of a feature that is no parent, at the start: a twentieth of a parent's


class SumFusion(nn.ModuleList):
    """The paper's: of block id - len(stem) a resampling for each of its two parents.

    Args:
        spec: the architecture.
        widths: of its network.
        style: activation and normalisation.
    """

    def __init__(self, spec: ArchSpec, widths: Widths, *, style: LayerStyle) -> None:
        blocks, channels = spec.all_blocks, widths.channels

        def build(parent: int, child: int) -> Resample | DepthwiseResample:
            num_down = max(blocks[child].level - blocks[parent].level, 0)
            if spec.is_mbconv:
                return DepthwiseResample(channels[parent], channels[child], num_down=num_down, style=style)
            middle = widths.resample[parent]
            return Resample(channels[parent], middle, channels[child], down=num_down > 0, style=style)

        super().__init__(
            nn.ModuleList(build(parent, child) for parent in block.parents)
            for child, block in enumerate(spec.blocks, start=len(spec.stem))
        )
        self.spec = spec

    def begin(self, plan: SizePlan, wanted: Collection[int]) -> Summing:
        """What one pass through the network runs with; `wanted` are the blocks that run."""
        return Summing(self, plan, wanted)

    def of_block(self, i: int) -> nn.ModuleList:
        """The resamplings of a block, in the order of its parents."""
        resamples = self[i - len(self.spec.stem)]
        assert isinstance(resamples, nn.ModuleList)
        return resamples


class Summing:
    """One pass: the features so far, those squeezed ahead for several readers among them."""

    def __init__(self, fusion: SumFusion, plan: SizePlan, wanted: Collection[int]) -> None:
        self._fusion = fusion
        self._sizes = plan.sizes
        self._features: dict[int, Tensor] = {}
        self._squeezed: dict[nn.Module, Tensor] = {}
        spec = fusion.spec
        # By block id: the resamplings that squeeze its feature for the wanted blocks that read it.
        self._readers: list[list[Resample]] = [[] for _ in spec.all_blocks]
        for i, block in enumerate(spec.blocks, start=len(spec.stem)):
            if i in wanted:
                for parent, resample in zip(block.parents, fusion.of_block(i), strict=True):
                    if isinstance(resample, Resample):
                        self._readers[parent].append(resample)

    def put(self, i: int, feature: Tensor) -> None:
        """Take the feature of block i."""
        self._features[i] = feature
        self._squeezed |= _squeeze(feature, self._readers[i])

    def read(self, i: int) -> Tensor:
        """The sum of block i's resampled parents, a fresh tensor."""
        fused, *others = (
            resample.rescale(self._squeezed.pop(resample), self._sizes[i])
            if isinstance(resample, Resample) and resample in self._squeezed
            else resample(self._features[parent], self._sizes[i])
            for resample, parent in zip(
                self._fusion.of_block(i), self._fusion.spec.block(i).parents, strict=True
            )
        )
        for other in others:
            fused = fused.add_(other)
        out: Tensor = fused
        return out


def _squeeze(x: Tensor, resamples: Sequence[Resample]) -> dict[nn.Module, Tensor]:
    """A feature squeezed for all resamplings that read it; empty where each has to do it by itself."""
    layers = [resample.squeeze for resample in resamples]
    if len(layers) > 1 and not any(map(has_hooks, resamples)) and can_rewrite(x, layers):
        return dict(zip(resamples, conv_norms(x, layers), strict=True))
    return {}


class SharedFusion(nn.Module):
    """Every feature squeezed once; a block reads a weighted sum of all that it depends on, expanded once.

    The weights of a block are 2 x softmax over its candidates (`fusion_candidates`): of learned numbers, and
    with attention also of products of the block's query with a key of each feature, which is its squeezed
    feature averaged over the image, through a linear layer, normalised. Learned numbers start so that the
    parents get most of the weight, queries at zero, so that all images start with the same.

    In evaluation `top_k` leaves every image's largest weights of a block alone, scaled to the same sum; a
    feature that none of a batch's images has left is not resampled.

    Args:
        spec: the architecture, not of MBConv blocks.
        widths: of its network under this fusion: one width for all squeezed features.
        is_attention: whether weights depend on the image.
        style: activation and normalisation.
    """

    def __init__(self, spec: ArchSpec, widths: Widths, *, is_attention: bool, style: LayerStyle) -> None:
        super().__init__()
        blocks, self.candidates = spec.all_blocks, fusion_candidates(spec)
        self.levels = tuple(block.level for block in blocks)
        self.compat = style.compat
        self.top_k: int | None = None
        middle = widths.resample[0]
        lowest: dict[int, int] = {}  # level of the coarsest reader, by feature
        for i, ids in enumerate(self.candidates):
            lowest |= {j: max(lowest.get(j, 0), blocks[i].level) for j in ids}
        self.sources = nn.ModuleDict(
            {
                str(j): Source(
                    widths.channels[j],
                    middle,
                    has_down=lowest[j] > blocks[j].level,
                    has_key=is_attention,
                    style=style,
                )
                for j in sorted(lowest)
            }
        )
        self.targets = nn.ModuleDict(
            {
                str(i): Target(
                    [j in blocks[i].parents for j in ids],
                    middle,
                    widths.channels[i],
                    has_query=is_attention,
                    style=style,
                )
                for i, ids in enumerate(self.candidates)
                if ids
            }
        )

    def begin(self, plan: SizePlan, wanted: Collection[int]) -> Weighing:
        """What one pass through the network runs with; `wanted` are the blocks that run."""
        return Weighing(self, plan, wanted)


class Source(nn.Module):
    """What all readers of a feature share: its squeeze, its way down, and its key.

    Args:
        in_channels: of the feature.
        mid_channels: of what is read.
        has_down: whether a reader is at a higher level (a lower resolution).
        has_key: whether readers weigh it by a key.
        style: activation and normalisation.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, *, has_down: bool, has_key: bool, style: LayerStyle
    ) -> None:
        super().__init__()
        self.squeeze = ConvNorm(in_channels, mid_channels, 1, style=style)
        self.down = ConvNorm(mid_channels, mid_channels, 3, stride=2, style=style) if has_down else None
        self.key = nn.Linear(mid_channels, KEY_WIDTH) if has_key else None

    def key_of(self, squeezed: Tensor) -> Tensor:
        """[B, m, H, W] to [B, KEY_WIDTH] of mean 0 and variance 1, however long the kernel has become."""
        assert self.key is not None
        return F.layer_norm(self.key(squeezed.mean(dim=(2, 3))), (KEY_WIDTH,))


class Target(nn.Module):
    """How a block weighs its candidates, and the expansion of their weighted sum to its width.

    Args:
        is_parent: of each candidate, whether it is a parent.
        mid_channels: of the sum.
        out_channels: of the block's input.
        has_query: whether the weights depend on keys.
        style: activation and normalisation.
    """

    def __init__(
        self,
        is_parent: Sequence[bool],
        mid_channels: int,
        out_channels: int,
        *,
        has_query: bool,
        style: LayerStyle,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.0 if parent else OTHER_BIAS for parent in is_parent]))
        self.query = nn.Parameter(torch.zeros(KEY_WIDTH)) if has_query else None
        self.expand = ConvNorm(mid_channels, out_channels, 1, activate=False, style=style)

    def gates(self, keys: Sequence[Tensor]) -> Tensor:
        """Weights [B, K] of the candidates with keys [B, KEY_WIDTH], or [1, K] for all images alike."""
        logits = self.bias[None]
        if self.query is not None:
            products = F.linear(torch.stack(list(keys), dim=1), self.query[None]).squeeze(-1)
            logits = logits + products / math.sqrt(KEY_WIDTH)
        return GATES_SUM * logits.softmax(dim=-1)


class Weighing:
    """One pass: the squeezed features so far, their keys, and what of them was brought to lower levels."""

    def __init__(self, fusion: SharedFusion, plan: SizePlan, wanted: Collection[int]) -> None:
        self._fusion = fusion
        self._sizes = plan.sizes
        self._read = {j for i in wanted for j in fusion.candidates[i]}
        self._squeezed: dict[int, Tensor] = {}
        self._keys: dict[int, Tensor] = {}
        self._down: dict[int, Tensor] = {}  # after the convolution of stride 2
        self._pooled: dict[tuple[int, tuple[int, int]], Tensor] = {}  # and the pool, by feature and target

    def put(self, i: int, feature: Tensor) -> None:
        """Take the feature of block i."""
        if i not in self._read:
            return
        source = self._fusion.sources[str(i)]
        assert isinstance(source, Source)
        self._squeezed[i] = source.squeeze(feature)
        if source.key is not None:
            self._keys[i] = source.key_of(self._squeezed[i])

    def read(self, i: int) -> Tensor:
        """The expanded sum of block i's weighted candidates, a fresh tensor."""
        ids, target = self._fusion.candidates[i], self._fusion.targets[str(i)]
        assert isinstance(target, Target)
        gates = target.gates([self._keys[j] for j in ids if j in self._keys])
        is_left = [True] * len(ids)
        top_k = self._fusion.top_k
        if top_k is not None and top_k < len(ids) and not self._fusion.training:
            gates = largest(gates, top_k)
            is_left = (gates > 0).any(dim=0).tolist()
        # Features of one size are summed before they are resized.
        sums: dict[tuple[int, int], Tensor] = {}
        for k, j in enumerate(ids):
            if is_left[k]:
                x = self._brought(j, i)
                part, size = x * gates[:, k, None, None, None].to(x.dtype), (x.shape[2], x.shape[3])
                sums[size] = sums[size].add_(part) if size in sums else part
        first, *others = (resize_nearest(part, self._sizes[i]) for part in sums.values())
        for other in others:
            first = first.add_(other)
        out: Tensor = target.expand(first)
        return out

    def _brought(self, j: int, i: int) -> Tensor:
        """Squeezed feature j as block i reads it, but for resizing."""
        squeezed, size = self._squeezed[j], self._sizes[i]
        if self._fusion.levels[i] <= self._fusion.levels[j]:
            return squeezed
        if (j, size) not in self._pooled:
            if j not in self._down:
                source = self._fusion.sources[str(j)]
                assert isinstance(source, Source)
                assert source.down is not None
                self._down[j] = source.down(squeezed)
            x = self._down[j]
            is_v2 = self._fusion.compat == "v2"
            before = (squeezed.shape[2], squeezed.shape[3])
            self._pooled[j, size] = halving_pools(x, size) if is_v2 else single_pool(x, before, size)
        return self._pooled[j, size]


def largest(gates: Tensor, k: int) -> Tensor:
    """Weights [B, K] of which each row's k largest are left, scaled to the same sum; others are 0."""
    kept = torch.zeros_like(gates).scatter(1, gates.topk(k, dim=1).indices, 1.0) * gates
    return kept * (GATES_SUM / kept.sum(dim=1, keepdim=True))
