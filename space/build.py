"""A search space from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spinesearch.space.base import SearchSpace
from spinesearch.space.spec import MAX_LEVEL, MIN_LEVEL, SpecError
from spinesearch.space.spinenet import SpineNetSpace


@dataclass(frozen=True, kw_only=True)
class SpineNetSettings:
    """What `conf/space/spinenet.yaml` sets; the fields are those of `SpineNetSpace`.

    JSON and the command line know names only, so `base_levels` has the keys ``L1``..``L7``.

    Raises:
        SpecError: a value breaks a rule; the message begins with ``space.<field>``.
    """

    name: str = "spinenet"
    base_levels: dict[str, int] = field(
        default_factory=lambda: {f"L{level}": count for level, count in SpineNetSpace().base_levels.items()}
    )
    window: int | None = 5
    level_offsets: list[int] = field(default_factory=lambda: list(SpineNetSpace.level_offsets))
    block_types: list[str] = field(default_factory=lambda: list(SpineNetSpace.block_types))

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> SpineNetSpace:
        """The space."""
        fields = asdict(self)
        names = {f"L{level}": level for level in range(MIN_LEVEL, MAX_LEVEL + 1)}
        unknown = [name for name in self.base_levels if name not in names]
        if unknown:
            raise SpecError(f"space.base_levels: levels are {', '.join(names)}, got {unknown[0]!r}")
        fields["base_levels"] = {names[name]: count for name, count in self.base_levels.items()}
        fields["level_offsets"] = tuple(self.level_offsets)
        fields["block_types"] = tuple(self.block_types)
        return SpineNetSpace(**fields)


def build_space(config: Mapping[str, Any]) -> SearchSpace:
    """The space of a run's recorded configuration (JSON, so that the keys of mappings are strings).

    Raises:
        SpecError: a name or field is unknown, or a value breaks a rule.
    """
    if config.get("name") != "spinenet":
        raise SpecError(f"space.name: must be spinenet, got {config.get('name')!r}")
    try:
        return SpineNetSettings(**config).build()
    except TypeError as error:
        raise SpecError(f"space: {error}") from error
