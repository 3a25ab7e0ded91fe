"""What a scale-permuted backbone is made of, as plain data: `ArchSpec`, a graph of `BlockSpec`.

Block ids count from 0 through the stem and on through the scale-permuted blocks. See section 3 of the
SpineNet paper (arXiv 1912.05027).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from spinesearch.space.arch import identity
from spinesearch.space.arch.block import (
    BLOCK_TYPES,
    MAX_LEVEL,
    MBCONV_STEM,
    MIN_LEVEL,
    NUM_PARENTS,
    OUTPUT_LEVELS,
    SPINENET_STEM,
    BlockSpec,
    SpecError,
    block_from_fields,
)
from spinesearch.space.arch.pretty import pretty_json
from spinesearch.space.arch.spec_json import SCHEMA_VERSION, parse_json, read_fields, read_text, too_deep

__all__ = [
    "BLOCK_TYPES",
    "MAX_LEVEL",
    "MBCONV_STEM",
    "MIN_LEVEL",
    "NUM_PARENTS",
    "OUTPUT_LEVELS",
    "SCHEMA_VERSION",
    "SPINENET_STEM",
    "ArchSpec",
    "BlockSpec",
    "SpecError",
    "load_spec",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchSpec:
    """A scale-permuted backbone: a chained stem and the blocks after it. Always valid once constructed.

    Attributes:
        blocks: the scale-permuted blocks; block ``blocks[i]`` has id ``len(stem) + i``.
        stem: the fixed blocks before them, each fed by the one before.
        name: what people call it; no part of its identity.

    Raises:
        SpecError: a rule is broken; the message names the block, the value and the rule.
    """

    blocks: tuple[BlockSpec, ...]
    stem: tuple[BlockSpec, ...] = SPINENET_STEM
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _validate(self)

    def __len__(self) -> int:
        """Number of blocks, stem included."""
        return len(self.stem) + len(self.blocks)

    def block(self, block_id: int) -> BlockSpec:
        """The block with this id; ids below ``len(stem)`` are stem blocks."""
        return (self.stem + self.blocks)[block_id]

    @property
    def all_blocks(self) -> tuple[BlockSpec, ...]:
        """Stem and scale-permuted blocks in id order."""
        return self.stem + self.blocks

    @property
    def is_mbconv(self) -> bool:
        """Whether the blocks are MBConv blocks: all of them are, or none."""
        return self.stem[0].block_type == "mbconv"

    @property
    def output_ids(self) -> dict[int, int]:
        """Block id of the output at each level, by rising level."""
        ids = {block.level: i for i, block in enumerate(self.all_blocks) if block.is_output}
        return dict(sorted(ids.items()))

    @property
    def arch_id(self) -> str:
        """Identity of the network this spec builds: equal for equal networks, 12 hexadecimal digits."""
        return identity.arch_id(self)

    def unresampled_inputs(
        self, feature_key: Callable[[int], Hashable] | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Ids of the features added as they are to each block's input, beside its two resampled parents.

        The authors' rule: at an output block, every earlier feature that nothing has read so far (this
        block's own parents count as read; the stem's chain does not) and that has the block's own size and
        channels is added, and then counts as read.

        Args:
            feature_key: size and channels of a block's feature, by block id; features of equal keys can be
                added. By default level and type, which is the same thing for every input above 64 pixels.

        Returns:
            One tuple per block id, empty for stem and intermediate blocks.
        """
        blocks = self.all_blocks
        if feature_key is None:
            keys: list[Hashable] = [(block.level, block.block_type) for block in blocks]
        else:
            keys = [feature_key(i) for i in range(len(blocks))]
        unread: dict[int, None] = {}  # ids, rising
        inputs: list[tuple[int, ...]] = []
        for i, block in enumerate(blocks):
            extra: tuple[int, ...] = ()
            for parent in block.parents:
                unread.pop(parent, None)
            if block.is_output:
                key = keys[i]
                extra = tuple([j for j in unread if keys[j] == key])
                for j in extra:
                    del unread[j]
            unread[i] = None
            inputs.append(extra)
        return tuple(inputs)

    def renamed(self, name: str) -> Self:
        """The same spec under another name."""
        return replace(self, name=name)

    @classmethod
    def from_tuples(
        cls, blocks: Iterable[Any], *, stem: tuple[BlockSpec, ...] = SPINENET_STEM, name: str = ""
    ) -> Self:
        """Spec from the authors' list form ``(level, block_fn, (parent, parent), is_output)``.

        Ids 0 .. len(stem) - 1 are the stem's blocks, so that the first tuple describes block len(stem).
        """
        specs = []
        for offset, row in enumerate(blocks):
            where = f"block {len(stem) + offset}"
            if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 4:
                raise SpecError(
                    f"{where}: expected (level, block_fn, (parent, parent), is_output), got {row!r}"
                )
            level, block_type, parents, is_output = row
            specs.append(block_from_fields(where, level, block_type, parents, is_output))
        return cls(blocks=tuple(specs), stem=stem, name=name)

    def to_tuples(self) -> list[tuple[int, str, tuple[int, ...], bool]]:
        """The authors' list form of the blocks after the stem; the inverse of `from_tuples`."""
        return [(b.level, b.block_type, b.parents, b.is_output) for b in self.blocks]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the schema's version and, for the reader, every block's id."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "arch_id": self.arch_id,
            "stem": [{"level": b.level, "block_type": b.block_type} for b in self.stem],
            "blocks": [
                {
                    "id": i,
                    "level": b.level,
                    "block_type": b.block_type,
                    "parents": list(b.parents),
                    "is_output": b.is_output,
                }
                for i, b in enumerate(self.blocks, start=len(self.stem))
            ],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Spec from the plain data of `to_dict`; other keys (an export's provenance) are left alone.

        Raises:
            SpecError: a field is missing or wrong, or the recorded ``arch_id`` is not the one of these
                blocks.
        """
        fields = read_fields(data)
        spec = cls(blocks=fields.blocks, stem=fields.stem, name=fields.name)
        recorded = data.get("arch_id", spec.arch_id)
        if recorded != spec.arch_id:
            raise SpecError(
                f"arch_id: the file says {recorded!r} but its blocks give {spec.arch_id!r}; "
                "remove arch_id if the blocks were edited on purpose"
            )
        return spec

    def to_json(self) -> str:
        """`to_dict` as JSON text, one line per block."""
        return pretty_json(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Spec from JSON text; raises `SpecError` when it is not JSON or not a valid spec."""
        try:
            return cls.from_dict(parse_json(text))
        except RecursionError as error:  # printing a part of it that is wrong
            raise too_deep() from error


def load_spec(path: str | Path) -> ArchSpec:
    """Spec from a JSON file: one that `spinesearch export` wrote, or `ArchSpec.to_json`.

    The blocks alone: what else the file says, such as the fusion that they were searched with, is left there.

    Raises:
        SpecError: the file cannot be read or holds no valid spec; the message begins with the path.
    """
    text = read_text(path)
    try:
        return ArchSpec.from_json(text)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def _validate(spec: ArchSpec) -> None:
    if not spec.stem:
        raise SpecError("stem: at least one block is needed")
    for i, block in enumerate(spec.all_blocks):
        where = f"block {i}"
        if not MIN_LEVEL <= block.level <= MAX_LEVEL:
            raise SpecError(f"{where}: level must be in {MIN_LEVEL}..{MAX_LEVEL}, got {block.level}")
        if block.block_type not in BLOCK_TYPES:
            raise SpecError(
                f"{where}: block_type must be one of {', '.join(BLOCK_TYPES)}, got {block.block_type!r}"
            )
        if (block.block_type == "mbconv") != spec.is_mbconv:
            raise SpecError(
                f"{where}: mbconv blocks do not mix with other types, got a {block.block_type} after a stem "
                f"that begins with a {spec.stem[0].block_type}"
            )
        if i < len(spec.stem):
            if block.parents or block.is_output:
                raise SpecError(f"{where}: a stem block has no parents and is no output, got {block}")
            continue
        if not 1 <= len(set(block.parents)) == len(block.parents) <= NUM_PARENTS:
            raise SpecError(
                f"{where}: parents must be two different blocks, got {block.parents} (one is for ablations)"
            )
        if not all(0 <= parent < i for parent in block.parents):
            raise SpecError(
                f"{where}: parents must be earlier blocks, got {block.parents}; valid ids are 0..{i - 1}"
            )
    levels = [block.level for block in spec.blocks if block.is_output]
    for level in OUTPUT_LEVELS:
        if levels.count(level) != 1:
            found = "none" if level not in levels else str(levels.count(level))
            raise SpecError(f"blocks: exactly one output block is needed at level {level}, got {found}")
    if len(levels) != len(OUTPUT_LEVELS):
        extra = sorted(set(levels) - set(OUTPUT_LEVELS))
        raise SpecError(f"blocks: output blocks stand at levels {OUTPUT_LEVELS}, got one at level {extra[0]}")
