"""A search space from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spinesearch.space.base import SearchSpace
from spinesearch.space.spec import SpecError
from spinesearch.space.spinenet import SpineNetSpace


@dataclass(frozen=True, kw_only=True)
class SpineNetSettings:
    """What `conf/space/spinenet.yaml` sets; the fields are those of `SpineNetSpace`."""

    name: str = "spinenet"
    base_levels: dict[int, int] = field(default_factory=lambda: dict(SpineNetSpace().base_levels))
    window: int | None = 5
    level_offsets: list[int] = field(default_factory=lambda: list(SpineNetSpace.level_offsets))
    block_types: list[str] = field(default_factory=lambda: list(SpineNetSpace.block_types))

    def build(self) -> SpineNetSpace:
        """The space; raises `SpecError` for values that break a rule."""
        fields = asdict(self)
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
        levels = {int(level): int(count) for level, count in config["base_levels"].items()}
        return SpineNetSettings(**{**config, "base_levels": levels}).build()
    except (TypeError, KeyError) as error:
        raise SpecError(f"space: {error}") from error
