"""Times of backbones and of their plain port, in turn: what `make bench-models` and `make gpu-check` measure.

Every round times each variant once, in turn, so that a drift of the machine affects all of them alike, and a
ratio is one of neighbours in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from model_variants import VARIANTS, Scaling, Variant, build_networks, patched
from torch import Tensor, nn

from spinesearch.space import ArchSpec

MODES = ("training", "evaluation")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a network runs on: threads of the CPU, or a GPU with numbers of this dtype.

    Attributes:
        name: in the tables.
        threads: of torch on the CPU.
        device: ``cpu`` or ``cuda``.
        dtype: of the forward pass.
        times_patches: whether networks without one rewrite or the other are timed too; never on a GPU, where
            no rewrite is taken.
    """

    name: str
    threads: int = 1
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    times_patches: bool = True

    def variants(self, mode: str) -> list[Variant]:
        """Those to time here."""
        is_patched = self.times_patches and self.device == "cpu"
        return [v for v in VARIANTS if mode in v.modes and (is_patched or not v.patches)]


Case = tuple[str, float, str]  # mode, width and name of the setting: a column
Times = dict[str, list[float]]  # seconds in each round, by name of the variant


def measure(
    spec: ArchSpec,
    settings: list[Setting],
    scalings: Mapping[float, Scaling],
    rounds: int,
    *,
    log: Callable[[str], None],
    is_random: bool = False,
) -> dict[Case, Times]:
    """Seconds of every variant in every round, by mode, width and setting.

    Args:
        spec: the backbone.
        settings: what to run it on, in turn.
        scalings: by width.
        rounds: how often each variant is timed.
        log: called with a line before each width and setting.
        is_random: whether the spec is a random one, which gets fewer images.
    """
    times: dict[Case, Times] = {}
    for width, scaling in scalings.items():
        num_images = scaling.num_images_random if is_random else scaling.num_images
        for device in dict.fromkeys(setting.device for setting in settings):
            networks = build_networks(spec, scaling, num_images, device)
            for setting in (s for s in settings if s.device == device):
                log(f"  width {width:g}, {setting.name}")
                torch.set_num_threads(setting.threads)
                for mode in MODES:
                    for network, images in networks.values():  # not counted: the first time is slower
                        pass_seconds(network.train(mode == "training"), images, setting)
                    variants = setting.variants(mode)
                    seconds = times[mode, width, setting.name] = {variant.name: [] for variant in variants}
                    for variant in variants * rounds:
                        with patched(variant):
                            seconds[variant.name].append(pass_seconds(*networks[variant.network], setting))
    return times


def pass_seconds(network: nn.Module, images: Tensor, setting: Setting) -> float:
    """Time of a forward pass and, in training, of the backward pass of the features' mean squares."""
    is_half = setting.dtype == torch.bfloat16
    _finish(setting)
    start = time.perf_counter()
    with torch.set_grad_enabled(network.training):
        with torch.autocast(setting.device, torch.bfloat16, enabled=is_half):
            features = network(images)
        if network.training:
            loss = torch.stack([feature.float().square().mean() for feature in features.values()]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
    _finish(setting)
    seconds = time.perf_counter() - start
    network.zero_grad(set_to_none=True)
    return seconds


def _finish(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()
