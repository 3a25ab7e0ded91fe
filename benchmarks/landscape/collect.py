"""Turns what runs have finished into shards of a landscape; give it again as the runs go on.

python benchmarks/landscape/collect.py RUN ... [--folder FOLDER] [--shard-size 100] [--same-code DIGEST ...]

RUN is the folder of a search or a study. Its trials are taken in order as far as all before them have ended,
`--shard-size` at a time, and what is left when the run is complete; so a shard depends on its run alone, and
runs that go on add shards and change none. What a candidate had come to at a rung is a training of that
length. A search's finalists have shards of their own, RUN-finalists-SETTING; those that were trained under
another setting than the landscape's are left out, and so are the baselines, which are not of the space.

A run with another space, setting, data, torch or code is refused. Code is compared by the digest of what can
change a score; `--same-code` vouches that another digest scores alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recorded import RECORDS, LandscapeError, check_fits, read_shard, write_shard

from spinesearch.results.ledger.ledger import LedgerError
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import FINALISTS, Trial
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
    others = heads[:1]  # whose space and conditions all others have
    planned: list[tuple[Path, dict[str, Any], list[dict[str, Any]]]] = []
    for run_dir in runs:
        run, _ = load_run(run_dir)
        for part in _parts(run_dir, run):
            try:
                sides, common = _sides_that_fit(run_dir, part, others, same_code)
            except LandscapeError as error:
                if part.sides != (FINALISTS,):
                    raise
                print(f"{part.name} is left out: {error}", file=sys.stderr)
                continue
            others = others or [common]
            first = _first_new(run_dir, common, heads)
            for shard in _ranges(part, first, shard_size):
                head = {**common, "first_trial": shard.start, "end_trial": shard.stop}
                heads.append(head)
                path = folder / f"{part.name}-{shard.start:05}.jsonl.gz"
                planned.append((path, head, list(_trainings(part, sides, shard))))
    folder.mkdir(parents=True, exist_ok=True)
    for path, head, lines in planned:
        write_shard(path, head, lines)
    return [path for path, _, _ in planned]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Trials of a run that are numbered together in the landscape: all of it, or finalists of one setting.

    Attributes:
        name: in the landscape.
        run: whose settings are theirs.
        trials: as far as they were proposed.
        num_wanted: how many there are to be.
        sides: of the trials; those of a study, finalists' or the empty one.
    """

    name: str
    run: Run
    trials: Sequence[Trial]
    num_wanted: int
    sides: Sequence[str] = ("",)

    @property
    def study(self) -> Study | None:
        return None if self.run.study is None else Study(self.run)


def _parts(run_dir: Path, run: Run) -> Iterator[_Part]:
    part = _Part(
        name=run_dir.resolve().name,
        run=run,
        trials=run.trials,
        num_wanted=run.config["search"]["num_trials"],
    )
    if (study := part.study) is not None:
        part = replace(part, num_wanted=study.num_trials, sides=study.sides)
    yield part
    for rerank in run.reranks:
        if rerank.rerank != rerank.setting:
            continue  # its trainings are among those of the first with its settings
        trials = [trial for trial in run.finalists if trial.setting == rerank.setting]
        session = run.sessions[-1]
        task = {**run.config["proxy_task"], **rerank.proxy_task}
        theirs = {**session, "config": {**run.config, "proxy_task": task}}
        yield _Part(
            name=f"{part.name}-finalists-{rerank.setting}",
            run=replace(run, sessions=[*run.sessions[:-1], theirs]),
            trials=trials,
            num_wanted=len(trials),
            sides=(FINALISTS,),
        )


def _sides_that_fit(
    run_dir: Path, part: _Part, others: Sequence[Mapping[str, Any]], same_code: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """The sides whose conditions are the landscape's, and what all heads of the part say."""
    sides: list[str] = []
    refused: LandscapeError | None = None
    for side in part.sides:
        head = _common_head(part, side)
        if others and set(head["conditions"]["scoring_sources"]) <= set(same_code):
            head["code"] = head["conditions"]["scoring_sources"]
            head["conditions"]["scoring_sources"] = others[0]["conditions"]["scoring_sources"]
        try:
            check_fits(run_dir, head, others)
        except LandscapeError as error:
            refused = refused or error
            continue
        sides.append(side)
        others = others or [head]
        common = head
    if not sides:
        assert refused is not None
        raise refused
    return sides, common


def _common_head(part: _Part, side: str) -> dict[str, Any]:
    run, study = part.run, part.study
    config = run.config if study is None else study.config(side)
    data = run.sessions[-1]["data"] if study is None else study.data(side)
    decides = {key: value for key, value in conditions(run, side).items() if key not in _NOT_CONDITIONS}
    head: dict[str, Any] = json.loads(  # as it will be read again: lists, no tuples
        json.dumps(
            {
                "run": part.name,
                "begun": run.sessions[0]["time"],
                "space": config["space"],
                "controller": config["controller"] if study is None else {"name": "random"},
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
    """The first trial of a part that no shard has."""
    of_run = [head for head in heads if head["run"] == common["run"]]
    if any(head["begun"] != common["begun"] for head in of_run):
        raise LandscapeError(
            f"{run_dir}: another run called {common['run']} is in the landscape; rename this one's folder"
        )
    return max((head["end_trial"] for head in of_run), default=0)


def _ranges(part: _Part, first: int, shard_size: int) -> Iterator[range]:
    """The places of the trials of each new shard."""
    ended = next((i for i, trial in enumerate(part.trials) if not trial.is_done), len(part.trials))
    while ended - first >= shard_size or first < ended == part.num_wanted:
        yield range(first, min(first + shard_size, ended))
        first += shard_size


def _trainings(part: _Part, sides: Sequence[str], places: range) -> Iterator[dict[str, Any]]:
    """What the lines of a shard say: of candidates of the space that were trained in this run."""
    for trial in (part.trials[place] for place in places):
        if trial.reused_from:
            continue  # another run's, whose conditions are not this one's to vouch for
        if trial.side in sides and trial.tokens:
            for line in _lines(part, trial):
                yield {key: value for key, value in line.items() if value not in ("", {}, [])}


def _lines(part: _Part, trial: Trial) -> Iterator[dict[str, Any]]:
    """A line for each length that a candidate was itself trained to, and one where it failed by itself."""
    for rung in trial.rungs:
        if rung.duplicate_of is None:
            yield _line(part, trial, rung.num_steps, "completed", rung.metrics, rung.seconds)
    if trial.status in ("completed", "failed") and not trial.is_masked and not trial.is_stopped:
        seconds = round(trial.seconds - sum(rung.seconds for rung in trial.rungs), 3)
        num_steps = trial.metrics.get("num_steps")
        yield _line(part, trial, num_steps, trial.status, trial.metrics, seconds, trial.reason)


def _line(
    part: _Part,
    trial: Trial,
    num_steps: int | None,
    status: str,
    metrics: Mapping[str, Any],
    seconds: float,
    reason: str = "",
) -> dict[str, Any]:
    return {
        "run": part.name,
        "trial": trial.trial,
        "generation": trial.generation,
        "tokens": list(trial.tokens),
        "arch_id": trial.arch_id,
        "seed": part.run.config["seed"] if trial.seed is None else trial.seed,
        "num_steps": num_steps,
        "status": status,
        "metrics": dict(metrics),
        "seconds": seconds,
        "info": dict(trial.info),
        "reason": reason,
    }


if __name__ == "__main__":
    sys.exit(main())
