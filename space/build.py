"""A search space from its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spinesearch.space.arch.spec import BLOCK_TYPES, MAX_LEVEL, MIN_LEVEL, BlockSpec, SpecError
from spinesearch.space.base import SearchSpace
from spinesearch.space.spinenet import SpineNetSpace

_LEVELS = {f"L{level}": level for level in range(MIN_LEVEL, MAX_LEVEL + 1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SpineNetSettings:
    """What the files in `conf/space` set: `SpineNetSpace` in names, as JSON and the command line know them.

    Only fields that runs recorded from the beginning are without a default; later ones default to the paper's
    space.

    Attributes:
        name: what the space is called in tables; that of its file.
        base_levels: number of intermediate blocks at each base level, with the keys ``L1``..``L7``.
        window: as in `SpineNetSpace`.
        level_offsets: as in `SpineNetSpace`.
        block_types: as in `SpineNetSpace`.
        stem: levels of the stem's blocks, as in ``[L2, L2]``.
        stem_block_type: the type of them all.
        fixed_order: base levels of the intermediate blocks and then levels of the outputs, in order; None to
            search the order.

    Raises:
        SpecError: a value breaks a rule; the message begins with ``space.<field>``.
    """

    name: str
    base_levels: dict[str, int]  # a default would be merged into every yaml that leaves a level out
    window: int | None
    level_offsets: list[int]
    block_types: list[str]
    stem: list[str] = field(default_factory=lambda: ["L2", "L2"])
    stem_block_type: str = "bottleneck"
    fixed_order: list[str] | None = None

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> SpineNetSpace:
        """The space."""
        if not self.name or not isinstance(self.name, str):
            raise SpecError(f"space.name: must be a name, got {self.name!r}")
        if self.stem_block_type not in BLOCK_TYPES:
            raise SpecError(
                f"space.stem_block_type: must be one of {', '.join(BLOCK_TYPES)}, "
                f"got {self.stem_block_type!r}"
            )
        fixed_order = None if self.fixed_order is None else _levels("fixed_order", self.fixed_order)
        return SpineNetSpace(
            name=self.name,
            base_levels=dict(
                zip(_levels("base_levels", self.base_levels), self.base_levels.values(), strict=True)
            ),
            window=self.window,
            level_offsets=tuple(self.level_offsets),
            block_types=tuple(self.block_types),
            stem=tuple(
                BlockSpec(level=level, block_type=self.stem_block_type)
                for level in _levels("stem", self.stem)
            ),
            fixed_order=fixed_order,
        )


def _levels(name: str, texts: Iterable[str]) -> tuple[int, ...]:
    """Levels by name, of the field called ``name``."""
    texts = list(texts)
    for text in texts:
        if text not in _LEVELS:
            raise SpecError(f"space.{name}: levels are {', '.join(_LEVELS)}, got {text!r}")
    return tuple(_LEVELS[text] for text in texts)


def build_space(config: Mapping[str, Any]) -> SearchSpace:
    """The space of a run's recorded configuration (JSON, so that the keys of mappings are strings).

    Raises:
        SpecError: a field is missing or unknown, or a value breaks a rule.
    """
    try:
        return SpineNetSettings(**config).build()
    except (AttributeError, TypeError) as error:  # a field is missing, unknown, or of another type
        raise SpecError(f"space: {error}") from error
