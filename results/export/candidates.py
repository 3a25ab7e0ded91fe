"""Every candidate of a run as one row of a table, in CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.run import Run
from spinesearch.results.records import rows, write_csv
from spinesearch.space.cost.cost import backbone_cost

_INPUT_SIZE = 640  # pixels, at which costs are given, as in `export_dict`


def candidate_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Each candidate as in `spinesearch.results.records.rows`, with its cost and its block spec.

    ``parameters`` and ``multiply_adds`` are the backbone's at 640 px.
    """
    space, fusion = run.space, run.config["proxy_task"].get("fusion", "sum")
    for trial, row in zip(run.trials, rows(run), strict=True):
        spec = space.decode(trial.tokens)
        cost = backbone_cost(spec, _INPUT_SIZE, fusion=fusion)
        yield {
            **row,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "spec": json.dumps(spec.to_dict(), separators=(",", ":")),
        }


def write_candidates(run: Run, path: Path) -> None:
    """Write the rows of a run as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(candidate_rows(run), file)


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
