"""What each ablation compares: networks, their sizes and settings, and what the paper found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spinesearch.proxy_task.model import network_cost_of
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import R0_SP53, SPINENET_49, ArchSpec, ResNetSpec
from spinesearch.space.arch.damage import damaged
from spinesearch.space.cost.fusion import FUSIONS
from spinesearch.space.presets import R23_SP30

Spec = ArchSpec | ResNetSpec
NUM_CANDIDATES = 24  # of each search of the ablations with one, and of random ones beside it
TOP_K = (1, 2, 4)  # weights of a block that evaluation leaves, where there are any
# Settings of a search of so few: as they come, the first 16 candidates know of nothing, and the model would
# wait for 16 rewards, more than are in when the last 8 are proposed. So 8 are drawn, and 16 are the model's.
_SHORT_SEARCH = ("controller=bayesian", "controller.num_initial=8", "search.lag=0")
# b: the judge of docs/reward-noise.md, twice as wide, a head of four convolutions, all classes, longer.
SIZES: Mapping[str, tuple[str, ...]] = {
    "a": (),
    "b": (
        "proxy_task.filter_size_scale=0.25",
        "proxy_task.stem_filters=32",
        "proxy_task.endpoints_num_filters=64",
        "proxy_task.head_num_convs=4",
        "proxy_task.head_num_filters=64",
        "proxy_task.num_scales=3",
        "proxy_task.merge_classes=false",
        "proxy_task.batch_size=8",
        "proxy_task.num_steps=500",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One of the things that are compared; the first of an ablation is what the others are held against.

    Attributes:
        label: in the page.
        spec: its network; None where a search for each seed finds one.
        search: words of that search, besides its number of candidates and seed.
        fit: the setting that is lowered or raised until the network has the first one's multiply-adds; empty
            where it has what it has.
        changes: other settings of the proxy task.
        paper: what the paper found of it against the first: ``lower``, ``higher``, or nothing.
    """

    label: str
    spec: Spec | None = None
    search: tuple[str, ...] = ()
    fit: str = ""
    changes: Mapping[str, Any] | None = None
    paper: str = ""


def _searched(space: str, **kwargs: Any) -> Row:
    return Row(label=space, search=(f"space={space}", *_SHORT_SEARCH), **kwargs)


_WIDTH = "filter_size_scale"
ABLATIONS: Mapping[str, Sequence[Row]] = {
    "order": (
        _searched("r0_sp53"),
        _searched("hourglass", fit=_WIDTH, paper="lower"),
        _searched("fish", fit=_WIDTH, paper="lower"),
    ),
    "connections": (
        Row(label="R0-SP53", spec=R0_SP53),
        Row(label="without short-range", spec=damaged(R0_SP53, "short"), paper="lower"),
        Row(label="without long-range", spec=damaged(R0_SP53, "long"), paper="lower"),
        Row(label="sequential alone", spec=damaged(R0_SP53, "sequential"), paper="lower"),
    ),
    "search": (
        Row(label="best of random", search=("controller=random",)),
        Row(label="best of the search", search=_SHORT_SEARCH, paper="higher"),
    ),
    "stem": (
        Row(label="R0-SP53", spec=R0_SP53),
        Row(label="R23-SP30", spec=R23_SP30, fit=_WIDTH, paper="lower"),
        Row(label="ResNet-50-FPN", spec=ResNetSpec(depth=50), fit=_WIDTH, paper="lower"),
    ),
    "fusion": tuple(
        Row(
            label=fusion,
            spec=SPINENET_49,
            changes={"fusion": fusion},
            fit="" if fusion == "sum" else "resample_alpha",
        )
        for fusion in FUSIONS
    ),
}


def settings_of(row: Row, spec: Spec, base: ProxySettings, target: int | None) -> ProxySettings:
    """The proxy task of a row: at the width at which its network is nearest to so many multiply-adds.

    Args:
        row: what is compared.
        spec: its network.
        base: the proxy task of all.
        target: multiply-adds of the first row; None for the first row itself.
    """
    settings = replace(base, **(row.changes or {}))
    if not row.fit or target is None:
        return settings
    # Widths are whole numbers of filters: between two of them nothing changes, so a fine grid finds them all.
    start = getattr(settings, row.fit)
    tried = [replace(settings, **{row.fit: round(start * (0.5 + 0.005 * i), 6)}) for i in range(301)]
    return min(
        tried, key=lambda one: (abs(multiply_adds(spec, one) - target), abs(getattr(one, row.fit) - start))
    )


def multiply_adds(spec: Spec, settings: ProxySettings) -> int:
    """Of a network's detector with one class, for an image."""
    return network_cost_of(spec, settings, 1).multiply_adds
