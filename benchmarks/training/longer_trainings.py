"""What two real searches hand over, by longer trainings with seeds that they have not used.

``python benchmarks/training/longer_trainings.py`` prints the figures of docs/controllers.md, *Real searches*,
from the ledgers of the landscape: AP of the ten best by reward of each, and of the best of each with eight
seeds beside the baselines. Differences have 95 % intervals, by Welch's t between networks and by Student's t
of pairs of trainings with one seed.
"""

from __future__ import annotations

import gzip
import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from spinesearch.results.finalists import trainings_of
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import Rerank

LEDGERS = Path(__file__).parents[1] / "landscape" / "ledgers"
Array = npt.NDArray[np.float64]
_OURS, _OTHER = "landscape-bayesian-0", "landscape-random-0"
_BASELINES = ("spinenet49", "resnet50_fpn")
_NUM_SEEN = 2  # seeds of the best that the first ranking had; that there should be more was decided after it


def read(name: str, folder: Path) -> Run:
    """The run of a ledger of this folder."""
    (folder / name).mkdir()
    (folder / name / LEDGER_NAME).write_bytes(gzip.decompress((LEDGERS / f"{name}.jsonl.gz").read_bytes()))
    return load_run(folder / name)[0]


def rankings(run: Run) -> tuple[Rerank, Rerank]:
    """The newest ranking of ten, and that of the best with most seeds."""
    tens = [rerank for rerank in run.reranks if len(rerank.trials) == 10]
    return tens[-1], max(run.reranks, key=lambda rerank: len(rerank.seeds))


def aps(run: Run, rerank: Rerank, arch_id: str) -> Array:
    """AP of an architecture's trainings, by the ranking's seeds."""
    trainings = trainings_of(run, rerank)
    return np.array([trainings[arch_id, seed].metrics["ap"] for seed in rerank.seeds], dtype=float)


def figures(runs: Mapping[str, Run]) -> list[str]:
    """Lines of what is compared."""
    ten = {
        name: np.array(
            [aps(run, rankings(run)[0], run.trials[i].arch_id).mean() for i in rankings(run)[0].trials]
        )
        for name, run in runs.items()
    }
    test = stats.ttest_ind(ten[_OURS], ten[_OTHER], equal_var=False)
    low, high = test.confidence_interval()
    lines = [
        f"ten best, {name}: {values.mean():.3f}, sd {values.std(ddof=1):.3f}" for name, values in ten.items()
    ]
    lines.append(
        f"ten best, difference: {ten[_OURS].mean() - ten[_OTHER].mean():.3f} ({low:.3f} to {high:.3f}), "
        f"permutation p = {_permutation(ten[_OURS], ten[_OTHER]):.3f}"
    )
    best = {
        name: aps(run, rerank := rankings(run)[1], run.trials[rerank.trials[0]].arch_id)
        for name, run in runs.items()
    }
    ours = rankings(runs[_OURS])[1]
    best |= {name: aps(runs[_OURS], ours, ours.baselines[name]) for name in _BASELINES}
    for name, values in best.items():
        error = values.std(ddof=1) / np.sqrt(len(values))
        lines.append(f"best, {len(values)} seeds, {name}: {values.mean():.3f} +- {error:.3f}")
        if name != _OURS:
            for what, first in (("all", 0), (f"all but the first {_NUM_SEEN}", _NUM_SEEN)):
                gains = (best[_OURS] - values)[first:]
                mean, (low, high) = gains.mean(), stats.ttest_1samp(gains, 0.0).confidence_interval()
                lines.append(f"  {_OURS} is above it by {mean:.3f} ({low:.3f} to {high:.3f}), {what} seeds")
    return lines


def _permutation(ours: Array, theirs: Array) -> float:
    """The share of all ways to part the values whose means differ by as much."""
    values = np.concatenate([ours, theirs])
    wanted = abs(ours.mean() - theirs.mean()) - 1e-12
    chosen = np.array(list(itertools.combinations(range(len(values)), len(ours))))
    sums = values[chosen].sum(axis=1)
    apart = np.abs(sums / len(ours) - (values.sum() - sums) / len(theirs))
    return float((apart >= wanted).mean())


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: read(name, Path(folder)) for name in (_OURS, _OTHER)}
        print(*figures(runs), sep="\n")


if __name__ == "__main__":
    main()
