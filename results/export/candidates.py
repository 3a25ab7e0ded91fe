"""Every candidate of a run as one row of a table, in CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spinesearch.results.finalists import finished_rerank, standings
from spinesearch.results.ledger.run import Run
from spinesearch.space.cost.cost import backbone_cost

_INPUT_SIZE = 640  # pixels, at which costs are given, as in `export_dict`


def candidate_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Each candidate in the order of its number, with the same columns in all rows of a run.

    ``metric_*`` are what its training reported, those of its last rung where it stopped there; ``parameters``
    and ``multiply_adds`` are the backbone's at 640 px; ``score`` and ``score_se`` are of the newest finished
    re-ranking. None where there is no value.
    """
    names = sorted(
        {name for trial in run.trials for name, value in trial.metrics.items() if _is_plain(value)}
    )
    rerank, space = finished_rerank(run), run.space
    scores = {
        row.candidate.trial: row
        for row in ([] if rerank is None else standings(run, rerank))
        if row.candidate is not None
    }
    for trial in run.trials:
        spec, standing = space.decode(trial.tokens), scores.get(trial.trial)
        cost = backbone_cost(spec, _INPUT_SIZE)
        yield {
            "trial": trial.trial,
            "generation": trial.generation,
            "status": trial.status,
            "reward": trial.reward,
            "score": None if standing is None else standing.score,
            "score_se": None if standing is None else standing.standard_error,
            **{f"metric_{name}": trial.metrics.get(name) for name in names},
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "is_stopped": trial.is_stopped,
            "num_rungs": len(trial.rungs),
            "duplicate_of": trial.duplicate_of,
            "reused_from": trial.reused_from,
            "reason": trial.reason,
            "failed_by": trial.failed_by if trial.status == "failed" else "",
            "attempts": trial.attempts,
            "node": trial.node,
            "worker": trial.worker,
            "seconds": trial.seconds,
            "time": trial.time or None,
            "arch_id": trial.arch_id,
            "tokens": list(trial.tokens),
            "spec": json.dumps(spec.to_dict(), separators=(",", ":")),
        }


def write_csv(run: Run, path: Path) -> None:
    """Write the rows of a run; what is None is empty, and tokens stand with blanks between them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for row in candidate_rows(run):
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({**row, "tokens": " ".join(map(str, row["tokens"]))})


def parquet_writer() -> Callable[[Run, Path], None]:
    """What writes the rows of a run as Parquet, tokens as a list of integers.

    Raises:
        ValueError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "--format parquet: needs pyarrow, which is not installed; pip install 'spinesearch[parquet]'"
        ) from error

    def write(run: Run, path: Path) -> None:
        table = pyarrow.Table.from_pylist(list(candidate_rows(run)))
        fields = [  # a column without any value has the type that it has in other runs
            field.with_type(pyarrow.int64() if field.name == "duplicate_of" else pyarrow.float64())
            if pyarrow.types.is_null(field.type)
            else field
            for field in table.schema
        ]
        pyarrow.parquet.write_table(table.cast(pyarrow.schema(fields)), path)

    return write


def _is_plain(value: object) -> bool:
    """Whether a metric fits a cell."""
    return value is None or isinstance(value, bool | int | float | str)
