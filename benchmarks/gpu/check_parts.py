"""What a section of the GPU check finds, and the data that several sections share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinesearch.data.open import ProxyData
    from spinesearch.search.config.run_config import RunConfig

# Drawn by the first section that needs them; every section that trains or evaluates uses these images.
DRAWN = ("data=generated", "data.num_images=1250", "data.num_val_images=0")
QUICK_DRAWN = ("data=generated", "data.num_images=24", "data.num_val_images=0", "data.held_out_share=0.4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of a section's result; one with a title that was emitted before takes its place.

    Attributes:
        title: above the lines.
        lines: Markdown.
        values: the same as numbers, for JSON.
        problem: what is wrong, in one line; empty if nothing is.
    """

    title: str
    lines: Sequence[str]
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


Emit = Callable[[Part], None]
"""Called with each part as soon as it is known."""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    return [
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
    ]


def configured(overrides: Sequence[str]) -> tuple[RunConfig, ProxyData]:
    """The product's settings with these overrides, and the data they name."""
    from spinesearch.data.open import open_data
    from spinesearch.search.config.run_config import compose, run_config

    config = run_config(compose(overrides))
    return config, open_data(config.data, image_size=config.proxy_task.image_size)
