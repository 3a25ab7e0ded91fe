"""A network's latency from a table of what its pieces take, for a device that is elsewhere: `LatencyTable`.

The latency is a sum: a constant, a share for each live block by type and level, and a share for each
resampled connection by the level that it comes from and the level that it leads to. The shares are fitted to
measured networks, `fit_table`; how far off sums are is measured on others, and stands in the file.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.arch.spec import ArchSpec

FORMAT = "spinesearch latency table 1"
_NETWORK = "network"  # what every network takes once: stem, endpoints, head
_RIDGE = 1e-3  # keeps the shares of pieces that always come together finite


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyTable:
    """What pieces take.

    Attributes:
        device: which they were measured on.
        ms: milliseconds by piece, see `pieces`; a share may be negative, only sums mean something.
        notes: how they were measured, at what sizes, and how far off sums were.
    """

    device: str
    ms: Mapping[str, float]
    notes: Mapping[str, Any]

    def latency_ms(self, spec: ArchSpec) -> float:
        """Of a network, in milliseconds."""
        found = math.fsum(self.ms[name] * count for name, count in pieces(spec).items())
        return round(max(found, 0.0), 4)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def pieces(spec: ArchSpec) -> dict[str, int]:
    """How often a network has each piece; of its live blocks after the stem."""
    blocks, num_stem = spec.all_blocks, len(spec.stem)
    counts: Counter[str] = Counter([_NETWORK])
    for i in live_blocks(spec):
        if i >= num_stem:
            block = blocks[i]
            counts[f"{block.block_type} block at L{block.level}"] += 1
            counts[f"resampling to L{block.level}"] += len(block.parents)
            counts.update([f"resampling from L{blocks[parent].level}" for parent in block.parents])
    return dict(counts)


def piece_names(levels: Set[int], *, is_mbconv: bool) -> list[str]:
    """All pieces of a space's networks."""
    types = ("mbconv",) if is_mbconv else ("bottleneck", "residual")
    blocks = [f"{block_type} block at L{level}" for block_type in types for level in sorted(levels)]
    ways = [f"resampling {way} L{level}" for way in ("from", "to") for level in sorted(levels)]
    return [_NETWORK, *blocks, *ways]


def fit_table(
    specs: Sequence[ArchSpec], measured_ms: Sequence[float], *, names: Sequence[str], device: str
) -> LatencyTable:
    """The table of least squared relative errors on three quarters of some networks, with those on the rest.

    Args:
        specs: different networks, at least 8.
        measured_ms: their latencies.
        names: of all pieces that the table is to have.
        device: which they were measured on.
    """
    import numpy as np

    counts = np.array([[pieces(spec).get(name, 0) for name in names] for spec in specs], dtype=np.float64)
    ms = np.array(measured_ms)
    num_fitted = 3 * len(specs) // 4
    x = counts[:num_fitted] / ms[:num_fitted, None]
    system = x.T @ x + _RIDGE * np.trace(x.T @ x) / len(names) * np.eye(len(names))
    shares = np.linalg.solve(system, x.sum(axis=0))
    errors = np.abs(counts[num_fitted:] @ shares / ms[num_fitted:] - 1)
    return LatencyTable(
        device=device,
        ms={name: round(float(share), 6) for name, share in zip(names, shares, strict=True)},
        notes={
            "networks_fitted": num_fitted,
            "networks_checked": len(errors),
            "median_relative_error": round(float(np.median(errors)), 4),
            "largest_relative_error": round(float(errors.max()), 4),
            "least_and_most_ms": [float(ms.min()), float(ms.max())],
        },
    )


def read_table(path: Path, *, names: Sequence[str]) -> LatencyTable:
    """The table in a file.

    Args:
        path: of the file.
        names: the pieces that it must have.

    Raises:
        ValueError: it is none, or lacks a piece; the message begins with ``search.latency_table``.
    """
    where = f"search.latency_table: {path}"
    write = "`spinesearch bench latency FILE` writes one"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{where}: cannot be read ({error.strerror}); {write}") from error
    except ValueError as error:
        raise ValueError(f"{where}: is not JSON ({error}); {write}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"{where}: its format must be {FORMAT!r}; {write}")
    device, ms = fields.get("device"), fields.get("ms")
    if not isinstance(device, str) or not device or not isinstance(ms, dict):
        raise ValueError(f"{where}: needs a device, its name, and ms, milliseconds by piece; {write}")
    for name in names:
        value = ms.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{where}: ms: {name!r} must be a finite number, got {value!r}; {write}")
    notes = fields.get("notes")
    return LatencyTable(
        device=device,
        ms={name: float(ms[name]) for name in names},
        notes=notes if isinstance(notes, dict) else {},
    )
