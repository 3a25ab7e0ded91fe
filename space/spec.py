"""What a scale-permuted backbone is made of, as plain data: `BlockSpec` and `ArchSpec`.

Block ids count from 0 through the stem and on through the scale-permuted blocks. A block at level ``l`` works
at a resolution of 1 / 2**l of the input. See section 3 of the SpineNet paper (arXiv 1912.05027).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from spinesearch.space.pretty import pretty_json

SCHEMA_VERSION = 1
BLOCK_TYPES = ("bottleneck", "residual", "mbconv")
MIN_LEVEL = 1
MAX_LEVEL = 7
OUTPUT_LEVELS = (3, 4, 5, 6, 7)  # RetinaNet's P3..P7
NUM_PARENTS = 2


class SpecError(ValueError):
    """A spec, a file that holds one, or a choice sequence breaks a rule; the message names field and rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """One block of a backbone.

    Attributes:
        level: the block's resolution is 1 / 2**level of the input, `MIN_LEVEL`..`MAX_LEVEL`.
        block_type: one of `BLOCK_TYPES`; ``mbconv`` blocks do not mix with the others, because they are joined
            by another kind of resampling.
        parents: ids of the two earlier blocks it reads, in the order they were given (a set in meaning; the
            order only names the weights). Empty for a stem block, which reads the block before it.
        is_output: whether an endpoint (P3..P7) is attached.
    """

    level: int
    block_type: str = "bottleneck"
    parents: tuple[int, ...] = ()
    is_output: bool = False


# SpineNet's stem after the 7x7 convolution and the pool: two chained L2 bottlenecks (section 3.2 of the
# paper).
SPINENET_STEM = (BlockSpec(level=2), BlockSpec(level=2))
# Mobile SpineNet's after the 3x3 convolution of stride 2 (released code).
MBCONV_STEM = (BlockSpec(level=1, block_type="mbconv"), BlockSpec(level=2, block_type="mbconv"))


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
        from spinesearch.space.identity import arch_id

        return arch_id(self)

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
        key = feature_key or (lambda i: (blocks[i].level, blocks[i].block_type))
        unread = [True] * len(blocks)
        inputs: list[tuple[int, ...]] = []
        for i, block in enumerate(blocks):
            for parent in block.parents:
                unread[parent] = False
            extra = tuple(j for j in range(i) if unread[j] and key(j) == key(i)) if block.is_output else ()
            for j in extra:
                unread[j] = False
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
            specs.append(_block_from_fields(where, level, block_type, parents, is_output))
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
        if not isinstance(data, dict):
            raise SpecError(f"spec: expected an object, got {type(data).__name__}")
        version = data.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:  # True == 1
            raise SpecError(f"schema_version: this release reads version {SCHEMA_VERSION}, got {version!r}")
        stem = []
        for i, row in enumerate(_list_of_objects(data, "stem")):
            _check_fields(f"stem block {i}", row, ("level", "block_type"))
            stem.append(_block_from_fields(f"stem block {i}", row["level"], row["block_type"], (), False))
        blocks = []
        for i, row in enumerate(_list_of_objects(data, "blocks"), start=len(stem)):
            where = f"block {i}"
            _check_fields(where, row, ("level", "block_type", "parents", "is_output"))
            if type(row.get("id", i)) is not int or row.get("id", i) != i:
                raise SpecError(
                    f"{where}: id must be {i} (ids count through stem and blocks), got {row['id']!r}"
                )
            blocks.append(
                _block_from_fields(where, row["level"], row["block_type"], row["parents"], row["is_output"])
            )
        name = data.get("name", "")
        if not isinstance(name, str):
            raise SpecError(f"name: expected a string, got {name!r}")
        spec = cls(blocks=tuple(blocks), stem=tuple(stem), name=name)
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
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise SpecError(f"not JSON: {error}") from error
        except RecursionError as error:  # parsing it, or printing a part of it that is wrong
            raise SpecError("spec: lists or objects are nested too deeply") from error
        except SpecError:
            raise
        except ValueError as error:  # of json.loads, for an integer of thousands of digits
            raise SpecError("spec: a number has too many digits") from error


def load_spec(path: str | Path) -> ArchSpec:
    """Spec from a JSON file: one that `spinesearch export` wrote, or `ArchSpec.to_json`.

    Raises:
        SpecError: the file cannot be read or holds no valid spec; the message begins with the path.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(f"{path}: cannot be read: {reason}") from error
    try:
        return ArchSpec.from_json(text)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def _list_of_objects(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SpecError(f"{key}: expected a list of objects, got {rows!r}")
    return rows


def _check_fields(where: str, row: dict[str, Any], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise SpecError(f"{where}: missing field {missing[0]!r}; a block has {', '.join(names)}")


def _block_from_fields(where: str, level: Any, block_type: Any, parents: Any, is_output: Any) -> BlockSpec:
    """A block whose fields have the right types; their values are `_validate`'s business."""
    if isinstance(level, bool) or not isinstance(level, int):
        raise SpecError(f"{where}: level must be an integer, got {level!r}")
    if not isinstance(block_type, str):
        raise SpecError(f"{where}: block_type must be one of {', '.join(BLOCK_TYPES)}, got {block_type!r}")
    if not isinstance(parents, list | tuple) or any(
        isinstance(p, bool) or not isinstance(p, int) for p in parents
    ):
        raise SpecError(f"{where}: parents must be a list of block ids, got {parents!r}")
    if not isinstance(is_output, bool):
        raise SpecError(f"{where}: is_output must be true or false, got {is_output!r}")
    return BlockSpec(level=level, block_type=block_type, parents=tuple(parents), is_output=is_output)


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
        if len(block.parents) != NUM_PARENTS or len(set(block.parents)) != NUM_PARENTS:
            raise SpecError(f"{where}: parents must be two different blocks, got {block.parents}")
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
