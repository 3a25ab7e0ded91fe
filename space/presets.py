"""Published architectures as specs, each with its source."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TypeVar

from spinesearch.space.arch.spec import MBCONV_STEM, ArchSpec, BlockSpec, SpecError

T = TypeVar("T")

# SpineNet-49: figure 4 and the released code (block specs of SpineNet).
SPINENET_49 = ArchSpec.from_tuples(
    [
        (2, "bottleneck", (0, 1), False),
        (4, "residual", (0, 1), False),
        (3, "bottleneck", (2, 3), False),
        (4, "bottleneck", (2, 4), False),
        (6, "residual", (3, 5), False),
        (4, "bottleneck", (3, 5), False),
        (5, "residual", (6, 7), False),
        (7, "residual", (6, 8), False),
        (5, "bottleneck", (8, 9), False),
        (5, "bottleneck", (8, 10), False),
        (4, "bottleneck", (5, 10), True),
        (3, "bottleneck", (4, 10), True),
        (5, "bottleneck", (7, 12), True),
        (7, "bottleneck", (5, 14), True),
        (6, "bottleneck", (12, 14), True),
    ],
    name="spinenet49",
)

# R0-SP53: figure 4 of the paper; permutation and connections only, all bottlenecks.
R0_SP53 = ArchSpec.from_tuples(
    [
        (2, "bottleneck", (0, 1), False),
        (3, "bottleneck", (0, 1), False),
        (3, "bottleneck", (2, 3), False),
        (4, "bottleneck", (2, 4), False),
        (4, "bottleneck", (3, 5), False),
        (3, "bottleneck", (5, 6), False),
        (5, "bottleneck", (4, 7), False),
        (4, "bottleneck", (4, 8), False),
        (4, "bottleneck", (8, 9), False),
        (4, "bottleneck", (8, 10), False),
        (3, "bottleneck", (4, 10), True),
        (4, "bottleneck", (6, 7), True),
        (5, "bottleneck", (8, 13), True),
        (7, "bottleneck", (6, 9), True),
        (6, "bottleneck", (7, 9), True),
    ],
    name="r0_sp53",
)

# R23-SP30: read off figure 4 of the paper; the stem is the one of its table of R[N]-SP[M] models.
R23_SP30 = ArchSpec.from_tuples(
    [
        (4, "bottleneck", (5, 6), False),
        (4, "bottleneck", (5, 6), False),
        (4, "bottleneck", (7, 8), False),
        (3, "bottleneck", (8, 9), False),
        (2, "bottleneck", (9, 10), False),
        (4, "bottleneck", (5, 9), True),
        (3, "bottleneck", (9, 10), True),
        (5, "bottleneck", (9, 10), True),
        (7, "bottleneck", (11, 13), True),
        (6, "bottleneck", (9, 14), True),
    ],
    stem=tuple(BlockSpec(level=level) for level in (2, 2, 3, 3, 4, 4, 5)),
    name="r23_sp30",
)

# Mobile SpineNet-49: the released code (spinenet_mbconv.py of the paper's code base, spinenet_mobile.py of
# the TensorFlow Model Garden).
SPINENET_MOBILE_49 = ArchSpec.from_tuples(
    [
        (2, "mbconv", (0, 1), False),
        (2, "mbconv", (1, 2), False),
        (4, "mbconv", (1, 2), False),
        (3, "mbconv", (3, 4), False),
        (4, "mbconv", (3, 5), False),
        (6, "mbconv", (4, 6), False),
        (4, "mbconv", (4, 6), False),
        (5, "mbconv", (7, 8), False),
        (7, "mbconv", (7, 9), False),
        (5, "mbconv", (9, 10), False),
        (5, "mbconv", (9, 11), False),
        (4, "mbconv", (6, 11), True),
        (3, "mbconv", (5, 11), True),
        (5, "mbconv", (8, 13), True),
        (7, "mbconv", (6, 15), True),
        (6, "mbconv", (13, 15), True),
    ],
    stem=MBCONV_STEM,
    name="spinenet_mobile49",
)

PRESETS = {spec.name: spec for spec in (SPINENET_49, R0_SP53, R23_SP30, SPINENET_MOBILE_49)}


def preset(name: str) -> ArchSpec:
    """The published spec of this name, which may be written as in ``SpineNet-49`` or ``R0 SP53``.

    Raises:
        SpecError: there is none; the message offers the nearest names.
    """
    return find_by_name(name, PRESETS, "preset: no architecture")


def find_by_name(name: str, table: Mapping[str, T], complaint: str) -> T:
    """The entry of this name; case, hyphens, underscores and blanks do not matter.

    Args:
        name: what a user wrote.
        table: entries by name, no two of which differ in those alone.
        complaint: how the message begins, as in ``preset: no architecture``.

    Raises:
        SpecError: there is none; the message offers the nearest names.
    """
    names = {_plain(key): key for key in table}
    assert len(names) == len(table)
    if _plain(name) not in names:
        near = [names[match] for match in difflib.get_close_matches(_plain(name), names, n=3, cutoff=0.3)]
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(table))}"
        raise SpecError(f"{complaint} is called {name!r}; {hint}")
    return table[names[_plain(name)]]


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
