"""Candidates that were trained, on file: what a shard holds, and `load`.

A shard is a gzip of JSON lines, ``records/RUN-FIRST_TRIAL.jsonl.gz``, and never changes. Its first line, the
head, says what all of it has in common; each further line is a training:

head      format, schema_version; run, begun (its name and Unix time), first_trial, end_trial (the trials of
          it that were looked at, the last excluded); space, controller (as configured), conditions (all that
          decides a score but architecture, seed and length), data (numbers of images, class names),
          reward_metric, machines, version.
training  run, trial, generation; tokens, arch_id; seed; num_steps; status (completed or failed); metrics
          (what the proxy task measured, its curve included where ``measure_at`` asked for one); seconds (of
          one that went on from a rung, since that); info (what the strategy believed); reason (of a failure).
          A trial with rungs has one for each length it was trained to.

A shard needs nothing to be read but gzip and JSON (docs/landscape.md).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from spinesearch.data.whole_file import write_whole
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import SearchSpace
from spinesearch.space.build import build_space

FORMAT = "spinesearch-landscape"
SCHEMA_VERSION = 1
RECORDS = Path(__file__).parent / "records"


class LandscapeError(ValueError):
    """A shard cannot be used; one line that names the file, what it holds, the rule and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training on record; the fields are those of a line."""

    run: str
    trial: int
    tokens: tuple[int, ...]
    arch_id: str
    seed: int
    status: str
    generation: int = 0
    num_steps: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One metric of different architectures.

    Attributes:
        arch_ids: N of them, in the order in which they were recorded.
        tokens: of each.
        values: ``[N, S]``, by rising seed; NaN where there is none.
    """

    arch_ids: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    values: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Landscape:
    """Everything on record.

    Attributes:
        heads: the shards' first lines.
        trainings: in the order of the shards, each architecture, seed and length once.
    """

    heads: tuple[Mapping[str, Any], ...]
    trainings: tuple[Training, ...]

    @property
    def space(self) -> SearchSpace:
        """The space that all candidates are of."""
        return build_space(self.heads[0]["space"])

    @property
    def num_steps(self) -> int:
        """The length that most trainings have."""
        lengths = [t.num_steps for t in self.trainings if t.num_steps is not None]
        return max(sorted(set(lengths)), key=lengths.count)

    def scores(self, metric: str = "ap", *, num_steps: int | None = None) -> Scores:
        """A metric of every architecture that completed a training of this length, by default the usual."""
        length = num_steps or self.num_steps
        table: dict[str, dict[int, float]] = {}
        tokens: dict[str, tuple[int, ...]] = {}
        for training in self.trainings:
            value = training.metrics.get(metric)
            if training.status == "completed" and training.num_steps == length and value is not None:
                table.setdefault(training.arch_id, {})[training.seed] = float(value)
                tokens.setdefault(training.arch_id, training.tokens)
        seeds = sorted({seed for row in table.values() for seed in row})
        values = np.array([[row.get(seed, np.nan) for seed in seeds] for row in table.values()])
        return Scores(arch_ids=tuple(table), tokens=tuple(tokens.values()), values=values)


def load(folder: Path | str = RECORDS) -> Landscape:
    """All shards of a folder, by name.

    Raises:
        LandscapeError: there is none, one cannot be read or is of another version, or two do not belong
            together.
    """
    heads: list[dict[str, Any]] = []
    trainings: dict[tuple[str, int, int | None], Training] = {}
    for path in sorted(Path(folder).glob("*.jsonl.gz")):
        head, lines = read_shard(path)
        check_fits(path, head, heads)
        heads.append(head)
        for line in lines:
            training = Training(**{**line, "tokens": tuple(line["tokens"])})
            trainings.setdefault((training.arch_id, training.seed, training.num_steps), training)
    if not heads:
        raise LandscapeError(f"{folder}: holds no *.jsonl.gz; collect.py turns runs into such files")
    return Landscape(heads=tuple(heads), trainings=tuple(trainings.values()))


def read_shard(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head and the trainings of a shard.

    Raises:
        LandscapeError: it cannot be read, or is of another version.
    """
    try:
        head, *lines = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        kind = head.get("format")
    except (OSError, EOFError, zlib.error, ValueError, AttributeError) as error:
        raise LandscapeError(f"{path}: is damaged: {error}; restore it with git checkout") from error
    if kind != FORMAT or head.get("schema_version") != SCHEMA_VERSION:
        raise LandscapeError(
            f"{path}: is {kind} of version {head.get('schema_version')!r}, this code reads {FORMAT} of "
            f"version {SCHEMA_VERSION}; use the code of the commit that the file is from"
        )
    return head, lines


def write_shard(path: Path, head: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a shard, whole or not at all; equal contents give equal bytes.

    Raises:
        LandscapeError: there is such a file; a closed shard does not change.
    """
    if path.exists():
        raise LandscapeError(f"{path}: is there already, and a closed shard does not change")
    rows = [{"format": FORMAT, "schema_version": SCHEMA_VERSION, **head}, *lines]
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    write_whole(path, lambda partial: partial.write_bytes(gzip.compress(text.encode(), mtime=0)))


def check_fits(where: Path, head: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    """Check that a head belongs to those before it.

    Raises:
        LandscapeError: its space or conditions are others; the message names the first that is.
    """
    for other in others[:1]:
        ours, theirs = ({"space": row["space"], **_defaults(), **row["conditions"]} for row in (other, head))
        for key in ours | theirs:
            if ours.get(key) != theirs.get(key):
                raise LandscapeError(
                    f"{where}: {key} is {theirs.get(key)!r} there and {ours.get(key)!r} in the landscape; "
                    "record it in a folder of its own"
                )


def _defaults() -> dict[str, Any]:
    """Settings that are younger than some shard, which was recorded as if they had their defaults."""
    found = {f"proxy_task.{f.name}": f.default for f in fields(ProxySettings) if f.default is not MISSING}
    return dict(json.loads(json.dumps(found)))  # lists, no tuples
