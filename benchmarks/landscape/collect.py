"""Turns what runs have finished into shards of a landscape; give it again as the runs go on.

python benchmarks/landscape/collect.py RUN ... [--folder FOLDER] [--shard-size 100] [--same-code DIGEST ...]

RUN is the folder of a search or a study. Its trials are taken in order as far as all before them have ended,
`--shard-size` at a time, and what is left when the run is complete; so a shard depends on its run alone, and
runs that go on add shards and change none. A run with another space, setting, data, torch or code is refused.
Code is compared by the digest of what can change a score; `--same-code` vouches that another digest scores
alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recorded import RECORDS, LandscapeError, check_fits, read_shard, write_shard

from spinesearch.results.ledger.ledger import LedgerError
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.studies.study import Study
from spinesearch.search.study.reuse import conditions

# Part of what decides a score, but a training carries the first, and the second only looks on.
_NOT_CONDITIONS = ("proxy_task.num_steps", "proxy_task.measure_at")


def main() -> int:
    """Collect from the command line."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--folder", type=Path, default=RECORDS)
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--same-code", action="append", default=[], metavar="DIGEST")
    given = parser.parse_args()
    try:
        for path in collect(given.runs, given.folder, shard_size=given.shard_size, same_code=given.same_code):
            print(path)
    except (LandscapeError, LedgerError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def collect(
    runs: Sequence[Path], folder: Path, *, shard_size: int = 100, same_code: Sequence[str] = ()
) -> list[Path]:
    """The shards that were added.

    Args:
        runs: folders of searches and studies.
        folder: of the landscape; made if missing.
        shard_size: trials per shard.
        same_code: digests of code that scores as the landscape's does.

    Raises:
        LandscapeError: a run does not belong in this landscape; nothing has been written.
        LedgerError: a folder holds no run, or its ledger is damaged.
    """
    if shard_size < 1:
        raise LandscapeError(f"--shard-size: must be at least 1, got {shard_size}")
    heads = [read_shard(path)[0] for path in sorted(folder.glob("*.jsonl.gz"))]
    planned: list[tuple[Path, dict[str, Any], list[dict[str, Any]]]] = []
    for run_dir in runs:
        run, _ = load_run(run_dir)
        sides, common = _sides_that_fit(run_dir, run, heads, same_code)
        first = _first_new(run_dir, common, heads)
        for shard in _ranges(run, first, shard_size):
            head = {**common, "first_trial": shard.start, "end_trial": shard.stop}
            heads.append(head)
            path = folder / f"{common['run']}-{shard.start:05}.jsonl.gz"
            planned.append((path, head, list(_trainings(run, sides, common["run"], shard))))
    folder.mkdir(parents=True, exist_ok=True)
    for path, head, lines in planned:
        write_shard(path, head, lines)
    return [path for path, _, _ in planned]


def _sides_that_fit(
    run_dir: Path, run: Run, heads: Sequence[Mapping[str, Any]], same_code: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """The sides of a run whose conditions are the landscape's, and what all its heads say."""
    sides, heads = [], list(heads[:1])
    refused: LandscapeError | None = None
    for side in Study(run).sides if run.study is not None else ("",):
        head = _common_head(run_dir, run, side)
        if heads and set(head["conditions"]["scoring_sources"]) <= set(same_code):
            head["code"] = head["conditions"]["scoring_sources"]
            head["conditions"]["scoring_sources"] = heads[0]["conditions"]["scoring_sources"]
        try:
            check_fits(run_dir, head, heads)
        except LandscapeError as error:
            refused = refused or error
            continue
        sides.append(side)
        heads = heads or [head]
        common = head
    if not sides:
        assert refused is not None
        raise refused
    return sides, common


def _common_head(run_dir: Path, run: Run, side: str) -> dict[str, Any]:
    config = run.config if run.study is None else Study(run).config(side)
    data = run.sessions[-1]["data"] if run.study is None else Study(run).data(side)
    decides = {key: value for key, value in conditions(run, side).items() if key not in _NOT_CONDITIONS}
    head: dict[str, Any] = json.loads(  # as it will be read again: lists, no tuples
        json.dumps(
            {
                "run": run_dir.resolve().name,
                "begun": run.sessions[0]["time"],
                "space": config["space"],
                "controller": config["controller"] if run.study is None else {"name": "random"},
                "conditions": decides,
                "data": {"name": config["data"]["name"], **data},
                "reward_metric": config["search"]["reward_metric"],
                "machines": sorted({session.get("machine", "not recorded") for session in run.sessions}),
                "version": run.sessions[-1]["version"],
            }
        )
    )
    return head


def _first_new(run_dir: Path, common: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> int:
    """The first trial of a run that no shard has."""
    of_run = [head for head in heads if head["run"] == common["run"]]
    if any(head["begun"] != common["begun"] for head in of_run):
        raise LandscapeError(
            f"{run_dir}: another run called {common['run']} is in the landscape; rename this one's folder"
        )
    return max((head["end_trial"] for head in of_run), default=0)


def _ranges(run: Run, first: int, shard_size: int) -> Iterator[range]:
    """The trials of each new shard."""
    ended = next((trial.trial for trial in run.trials if not trial.is_done), len(run.trials))
    num_wanted = run.config["search"]["num_trials"] if run.study is None else Study(run).num_trials
    while ended - first >= shard_size or first < ended == num_wanted:
        yield range(first, min(first + shard_size, ended))
        first += shard_size


def _trainings(run: Run, sides: Sequence[str], name: str, trials: range) -> Iterator[dict[str, Any]]:
    """What the lines of a shard say: of trials that were trained in this run, and not in vain."""
    for trial in (run.trials[number] for number in trials):
        if trial.reused_from:
            continue  # another run's, whose conditions are not this one's to vouch for
        if trial.side in sides and trial.status in ("completed", "failed") and not trial.is_masked:
            yield {key: value for key, value in _line(run, name, trial).items() if value not in ("", {}, [])}


def _line(run: Run, name: str, trial: Trial) -> dict[str, Any]:
    return {
        "run": name,
        "trial": trial.trial,
        "generation": trial.generation,
        "tokens": list(trial.tokens),
        "arch_id": trial.arch_id,
        "seed": run.config["seed"] if trial.seed is None else trial.seed,
        "num_steps": trial.metrics.get("num_steps"),
        "status": trial.status,
        "metrics": dict(trial.metrics),
        "seconds": trial.seconds,
        "info": dict(trial.info),
        "reason": trial.reason,
    }


if __name__ == "__main__":
    sys.exit(main())
