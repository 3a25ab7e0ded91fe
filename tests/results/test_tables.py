"""Tables of a run as the text that they print."""

import pytest
from rich.console import Console
from rich.table import Table

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.tables import failures, format_size, status_line


def lines(table: Table | None) -> list[str]:
    assert table is not None
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return [line.strip() for line in capture.get().splitlines() if line.strip()]


def run_of(*reasons: str | None) -> Run:
    """A run whose trials failed for these reasons, or completed where there is none."""
    trials = [
        Trial(
            trial=i,
            generation=0,
            tokens=(0,),
            log_probs=(-1.0,),
            arch_id=f"{i:012x}",
            status="completed" if reason is None else "failed",
            reward=0.0,
            reason=reason or "",
        )
        for i, reason in enumerate(reasons)
    ]
    return Run(trials=trials)


def test_no_failure_no_table():
    assert failures(Run()) is None
    assert failures(run_of(None, None)) is None


def test_failures_are_listed_commonest_first_with_an_example():
    run = run_of(None, "ValueError: nan", "it died", "ValueError: nan", "other", None)
    text = lines(failures(run))
    assert text[0] == "4 of 6 failed"
    assert text[1].split() == ["count", "trial", "reason"]
    assert [line.split(maxsplit=2) for line in text[3:]] == [
        ["2", "1", "ValueError: nan"],
        ["1", "2", "it died"],
        ["1", "4", "other"],
    ]


def test_only_the_commonest_failures_are_listed():
    text = lines(failures(run_of(*(f"reason {letter}" for letter in "abcdefghi"), "reason i")))
    assert text[0] == "10 of 10 failed"
    assert text[-1].split(maxsplit=1) == ["4", "4 rarer reasons"]
    assert [line.split(maxsplit=2) for line in text[3:-1]] == [
        ["2", "8", "reason i"],
        *(["1", str(i), f"reason {letter}"] for i, letter in enumerate("abcd")),
    ]


def test_reasons_are_printed_as_they_are():
    text = lines(failures(run_of("KeyError: [bold]x[/]", "[/red]", "")))
    assert [line.split(maxsplit=2)[2] for line in text[3:]] == [
        "KeyError: [bold]x[/]",
        "[/red]",
        "none given",
    ]


def test_a_long_reason_is_not_cut():
    reason = "word " * 60 + "the-end"
    assert "the-end" in lines(failures(run_of(reason)))[-1]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.0e+00", 0),
        ("1.0e+00", 1),
        ("4.4e+01", 44),
        ("9.6e+01", 96),
        ("1.0e+03", 999),
        ("2.2e+34", 22079264974776705849753600000000000),
        ("1.2e+308", 12 * 10**307),
        ("1.2e+309", 12 * 10**308),  # above the greatest float
        ("1.0e+10000", 996 * 10**9997),  # more digits than str gives
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # pytest would print the number in full
)
def test_sizes_of_any_length(text: str, size: int):
    assert format_size(size) == text
    if size < 10**300:
        assert format_size(size) == f"{size:.1e}"


def test_the_status_of_a_run_in_a_huge_space(monkeypatch):
    class Huge:
        name = "huge"
        size = 10**400

    monkeypatch.setattr("spinesearch.results.ledger.run.build_space", lambda config: Huge())
    config = {"search": {"num_trials": 8}, "controller": {"name": "random"}, "space": {}, "seed": 3}
    run = Run(sessions=[{"event": "run", "config": config}], trials=run_of(None, "it died").trials)
    assert status_line(run) == (
        "2 of 8 candidates done (1 completed, 1 failed), 0 updates; "
        "space huge (1.0e+400 choices), controller random, seed 3"
    )
