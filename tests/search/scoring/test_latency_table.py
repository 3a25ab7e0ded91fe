"""Tables of latencies: their pieces, and those that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from spinesearch.proxy_task.model import network_cost_of
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.run_config import ConfigError, compose, run_config
from spinesearch.search.scoring.constraints import Limits
from spinesearch.search.scoring.search_limits import search_limits
from spinesearch.space import SPINENET_49, SpineNetSpace
from spinesearch.space.cost.latency_table import LatencyTable, piece_names, pieces, read_table

NAMES = piece_names(SpineNetSpace().levels, is_mbconv=False)


def test_pieces_are_those_of_live_blocks():
    """SpineNet-49 has 10 intermediate blocks and 5 outputs with two parents each, and all are live."""
    found = pieces(SPINENET_49)
    assert found["network"] == 1
    assert sum(count for name, count in found.items() if " block at " in name) == 15
    for way in ("from", "to"):
        assert sum(count for name, count in found.items() if name.startswith(f"resampling {way}")) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot be read \(No such file or directory\); `spinesearch bench latency FILE` writes one"),
        ("{", "is not JSON"),
        ("{}", "its format must be 'spinesearch latency table 1'"),
        ('{"format": "spinesearch latency table 1", "device": "x"}', "needs a device, its name, and ms"),
        (
            '{"format": "spinesearch latency table 1", "device": "x", "ms": {"network": "1"}}',
            "ms: 'network' must be a finite number, got '1'",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "table.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"search.latency_table: {path}: {message}"):
        read_table(path, names=NAMES)


def test_a_table_measured_at_other_sizes_is_refused(tmp_path: Path):
    path = tmp_path / "table.json"
    words = ["proxy_task=small", f"search.latency_table={path}", "search.max_latency_ms=1"]
    config = run_config(compose(words))
    space = config.space.build()
    names = piece_names(space.levels, is_mbconv=False)

    def limits(config=config, begun: Run | None = None, **notes: object) -> Limits | None:
        path.write_text(LatencyTable(device="a", ms=dict.fromkeys(names, 0.5), notes=notes).to_json())
        return search_limits(config, space, 3, begun)

    found = limits(image_size=128, precision="float32", filter_size_scale=0.125, num_classes=3)
    assert found is not None
    assert found.excess(SPINENET_49).endswith("search.max_latency_ms is 1"), "the table and the limit count"
    assert limits(), "notes are not asked for"
    merged = replace(config, proxy_task=replace(config.proxy_task, merge_classes=True))
    assert (one_class := limits(merged, num_classes=1))
    assert one_class.cost(SPINENET_49) == network_cost_of(SPINENET_49, merged.proxy_task, 1), (
        "what is trained"
    )
    for name, theirs, ours in (
        ("image_size", 512, "proxy_task.image_size=128"),
        ("precision", "bfloat16", "proxy_task.precision=float32"),
        ("filter_size_scale", 1.0, "proxy_task.filter_size_scale=0.125"),
        ("num_classes", 80, "--classes 3"),
        ("fusion", "attention", "proxy_task.fusion=sum"),
        ("detector", "mask_rcnn", "proxy_task.detector=retinanet"),
        ("stem_filters", 7, "proxy_task.stem_filters=16"),
    ):
        value = ours.replace("=", " ").split()[-1]
        with pytest.raises(ConfigError) as refused:
            limits(**{name: theirs})
        assert str(refused.value) == (
            f"search.latency_table: {path}: was measured with {name} {theirs}, and this search has {value}; "
            f"measure another by `spinesearch bench latency FILE {ours}`"
        )
    begun = Run(sessions=[{"event": "run", "config": {"search": {"latency_table": str(path)}}}])
    assert limits(begun=begun, image_size=512), "a run that has begun keeps its table"
