"""Lines that are decoded many at a time are read as one after the other."""

import gc
import json
import random
from pathlib import Path

import pytest

from spinesearch.results.ledger import ledger as ledger_module
from spinesearch.results.ledger.ledger import (
    LEDGER_NAME,
    Ledger,
    LedgerError,
    parse_ledger,
    without_collection,
)
from spinesearch.results.ledger.lines import decode_events, encode_event


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """60 lines, appended by one to nine, of 40 to 170 bytes each."""
    rng = random.Random(0)
    number = 0
    with Ledger(tmp_path) as ledger:
        while number < 60:
            size = min(60 - number, rng.randint(1, 9))
            ledger.append(
                {"event": "x", "number": number + i, "text": "é" * rng.randrange(20)} for i in range(size)
            )
            number += size
    return (tmp_path / LEDGER_NAME).read_bytes()


def read(data: bytes, block: int, monkeypatch: pytest.MonkeyPatch) -> object:
    """All that comes of reading, in blocks of so many bytes; those of 0 are read line by line."""
    monkeypatch.setattr(ledger_module, "_BLOCK", block)
    try:
        return parse_ledger(data, "x", first=0)
    except LedgerError as error:
        return str(error)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The lines with one of the faults that tests of the ledger know, anywhere."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    begin = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            return data[:begin]
        case 1:
            end = min(len(data), begin + rng.choice([1, 30, 900]))
            return data[:begin] + b"\0" * (end - begin) + data[end:]
        case 2:
            return b"".join([*lines[:at], *lines[at + 1 :]])
        case 3:
            return b"".join([*lines[: at + 1], *lines[at:]])
        case 4:
            return b"".join([*lines[:at], b"\n", *lines[at:]])
        case _:
            return data[:begin] + bytes([data[begin] ^ 1]) + data[begin + 1 :]


@pytest.mark.parametrize("block", [1, 200, 1000, 2**18])
def test_blocks_are_read_as_line_by_line(whole: bytes, block: int, monkeypatch: pytest.MonkeyPatch):
    """The same events, torn ends and errors, whatever the damage: 80 random cases."""
    rng = random.Random(block)
    assert read(whole, block, monkeypatch) == read(whole, 0, monkeypatch)
    kinds = set()
    for _ in range(80):
        data = damaged(whole, rng)
        expected = read(data, 0, monkeypatch)
        assert read(data, block, monkeypatch) == expected
        kinds.add(type(expected))
    assert len(kinds) == 2


def test_a_block_counts_its_lines(whole: bytes):
    lines = whole.splitlines()
    assert [event["number"] for event in decode_events(lines[7:11], 7)] == [7, 8, 9, 10]
    for wrong in (lines[8:11], [*lines[7:9], *lines[8:11]], lines[10:6:-1]):
        with pytest.raises(ValueError, match="a line is missing before it, or it stands twice"):
            decode_events(wrong, 7)


def test_what_was_read_is_collected_once_it_is_garbage():
    """It goes straight to the oldest generation, and is frozen nowhere."""
    with without_collection():
        assert not gc.isenabled()
        circle: list[object] = []
        circle.append(circle)
        place = id(circle)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert any(id(it) == place for it in gc.get_objects(generation=2))
    del circle
    assert gc.collect() >= 1


def test_the_numbers_of_fields_that_nobody_wants_are_left_out_and_nothing_else() -> None:
    reason = 'its text: ,"tokens":[1,2],"metrics":{"ap":1} and a \\",\\"tokens\\":[3]'
    events = [
        {"event": "propose", "tokens": [3, 0, 17], "log_probs": [-0.5, -1e-05], "arch_id": "x"},
        {"event": "result", "trial": 1, "metrics": {"ap": 0.25, "num_steps": 2}, "reason": reason},
        {
            "event": "result",
            "trial": 2,
            "metrics": {"ap": None, "loss": 1.5},
            "tokens": [],
            "metric": {"a": 1},
        },
        {"event": "result", "trial": 3, "metrics": {"by_class": [0.5, 0.25]}, "log_probs": None, "seed": 7},
        {"event": "rung", "trial": 4, "info": {"of": [1], "tokens": [1]}, "metrics": {}, "tokens_": [5]},
    ]
    lines = [encode_event(7 + i, event).rstrip() for i, event in enumerate(events)]
    assert decode_events(lines, 7) == events
    wanted = json.loads(json.dumps(events))
    wanted[0] |= {"tokens": [], "log_probs": []}
    wanted[1]["metrics"] = {}
    wanted[4]["info"]["tokens"] = []
    assert decode_events(lines, 7, ("tokens", "log_probs", "metrics")) == wanted
    assert decode_events(lines, 7, ("log_probs",)) == [events[0] | {"log_probs": []}, *events[1:]]

    damaged_number = lines[0].replace(b"17", b"18")
    with pytest.raises(ValueError, match="its checksum does not match"):
        decode_events([damaged_number], 7, ("tokens",))
