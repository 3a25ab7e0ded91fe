"""A fusion in which blocks weigh all features that they depend on, each squeezed once for all its readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.results.export.plain.backbone import ScalePermutedBackbone, pool_halves, pool_once
from spinesearch.results.export.plain.layers import ConvNorm, Style, resize_nearest

KEY_WIDTH = 16


class SharedFusion(nn.Module):
    """The weighted sum of all that a block depends on; with attention the weights depend on the image."""

    def __init__(
        self, blocks: Sequence[Mapping[str, Any]], num_stem: int, has_attention: bool, style: Style
    ) -> None:
        super().__init__()
        self.compat = style.compat
        self.levels = [block["level"] for block in blocks]
        found: list[set[int]] = []
        for i, block in enumerate(blocks):
            parents = block["parents"] if i >= num_stem else range(max(i - 1, 0), i)
            found.append(set(parents).union(*(found[j] for j in parents)))
        self.candidates = [sorted(ids) if i >= num_stem else [] for i, ids in enumerate(found)]
        middle = blocks[0]["middle"]
        self.sources, self.targets = nn.ModuleDict(), nn.ModuleDict()
        for i, block in enumerate(blocks):
            width = block["channels"][2]
            readers = [level for level, ids in zip(self.levels, self.candidates, strict=True) if i in ids]
            if readers:
                has_down = max(readers) > block["level"]
                self.sources[str(i)] = Source(width, middle, has_down, has_attention, style)
            if self.candidates[i]:
                self.targets[str(i)] = Target(len(self.candidates[i]), middle, width, has_attention, style)

    def read(
        self, i: int, features: Mapping[int, Tensor], size: tuple[int, int], made: dict[Any, Tensor]
    ) -> Tensor:
        """What block i reads of the features so far, at its size and width."""
        ids, target = self.candidates[i], self._module(self.targets, i)
        for j in ids:
            if (j, "squeezed") not in made:
                made[j, "squeezed"] = self._module(self.sources, j).squeeze(features[j])
        gates = target.gates([self._module(self.sources, j).key_of(made[j, "squeezed"]) for j in ids])
        parts = [
            resize_nearest(self._brought(i, j, size, made), size) * gates[:, k, None, None, None]
            for k, j in enumerate(ids)
        ]
        out: Tensor = target.expand(sum(parts[1:], start=parts[0]))
        return out

    def _brought(self, i: int, j: int, size: tuple[int, int], made: dict[Any, Tensor]) -> Tensor:
        """Squeezed feature j as block i reads it, but for resizing to larger sides."""
        squeezed = made[j, "squeezed"]
        if self.levels[i] <= self.levels[j]:
            return squeezed
        if (j, "down") not in made:
            made[j, "down"] = self._module(self.sources, j).down(squeezed)
        x = made[j, "down"]
        before = (squeezed.shape[-2], squeezed.shape[-1])
        return pool_halves(x, size) if self.compat == "v2" else pool_once(x, before, size)

    @staticmethod
    def _module(modules: nn.ModuleDict, i: int) -> Any:
        return modules[str(i)]


class Source(nn.Module):
    """A feature's squeeze, its way down and its key."""

    def __init__(self, channels: int, middle: int, has_down: bool, has_key: bool, style: Style) -> None:
        super().__init__()
        self.squeeze = ConvNorm(channels, middle, 1, style=style)
        self.down = ConvNorm(middle, middle, 3, stride=2, style=style) if has_down else None
        self.key = nn.Linear(middle, KEY_WIDTH) if has_key else None

    def key_of(self, squeezed: Tensor) -> Tensor | None:
        """[B, middle, H, W] to [B, KEY_WIDTH], normalised."""
        if self.key is None:
            return None
        return F.layer_norm(self.key(squeezed.mean(dim=(2, 3))), (KEY_WIDTH,))


class Target(nn.Module):
    """The weights of what a block reads, and the expansion of its sum."""

    def __init__(self, count: int, middle: int, width: int, has_query: bool, style: Style) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(count))
        self.query = nn.Parameter(torch.zeros(KEY_WIDTH)) if has_query else None
        self.expand = ConvNorm(middle, width, 1, activate=False, style=style)

    def gates(self, keys: list[Any]) -> Tensor:
        """Weights [B, K] of K features with these keys; their sum is 2."""
        logits = self.bias[None]
        if self.query is not None:
            products = F.linear(torch.stack(keys, dim=1), self.query[None]).squeeze(-1)
            logits = logits + products / math.sqrt(KEY_WIDTH)
        return 2.0 * logits.softmax(dim=-1)


def build_backbone(config: Mapping[str, Any], style: Style) -> nn.Module:
    """The backbone of a configuration: `ScalePermutedBackbone`'s arguments, and whether it has attention."""
    arguments = dict(config)
    has_attention = arguments.pop("has_attention")
    backbone = ScalePermutedBackbone(**arguments, style=style)
    backbone.resamples = SharedFusion(arguments["blocks"], arguments["num_stem"], has_attention, style)
    return backbone
