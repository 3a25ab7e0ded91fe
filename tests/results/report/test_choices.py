"""The page decodes choices as the space does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spinesearch.results.report.choices import choice_table, packed
from spinesearch.space import ArchSpec, BlockSpec
from spinesearch.space.build import build_space

CONF = Path(__file__).parents[3] / "conf" / "space"
SINGLE_OFFSET = {"name": "single", "base_levels": {"L3": 2, "L4": 1}, "window": None, "level_offsets": [1]}


def decoded(table: dict[str, Any], text: str) -> ArchSpec:
    """As `Run.blocks` of data.js does."""
    blocks = [{**block, "type": 0, "parents": []} for block in table["blocks"]]
    for letter, (block, field, values) in zip(text, table["decisions"], strict=True):
        value = values[ord(letter) - ord("0")]
        if field == "parents":
            blocks[block]["parents"].append(value)
        else:
            blocks[block][field] += value
    return ArchSpec(
        stem=tuple(BlockSpec(**block) for block in table["stem"]),
        blocks=tuple(
            BlockSpec(
                level=block["level"],
                block_type=table["types"][block["type"]],
                parents=tuple(sorted(block["parents"])),
                is_output=block["is_output"],
            )
            for block in blocks
        ),
    )


@pytest.mark.parametrize(
    "config",
    [
        *(yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))),
        {**SINGLE_OFFSET, "block_types": ["residual"]},
    ],
    ids=lambda config: config["name"],
)
def test_choices_stand_for_the_same_networks(config: dict[str, Any]):
    space = build_space(config)
    table = choice_table(space)
    rng = np.random.default_rng(0)
    for _ in range(20):
        tokens = space.sample(rng)
        assert decoded(table, packed(tokens)) == space.decode(tokens)
