"""The best architectures of a run as JSON files that `load_spec` reads."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.results.ledger.trial import Trial
from spinesearch.space import pretty_json

_EXPORT_NAME = re.compile(r"[0-9]{2,}_[0-9a-f]{12}\.json")  # what `export_top` names a file: rank_arch-id


def export_dict(run: Run, trial: Trial, *, rank: int, run_name: str) -> dict[str, Any]:
    """A spec and where it came from: the search's space, seed and version, the reward and metrics."""
    spec = run.spec(trial).renamed(f"{run_name}-{rank:02d}")
    session = run.sessions[0]
    return {
        **spec.to_dict(),
        "reward": trial.reward,
        "metrics": dict(trial.metrics),
        "search": {
            "run": run_name,
            "trial": trial.trial,
            "rank": rank,
            "tokens": list(trial.tokens),
            "seed": run.config["seed"],
            "version": session["version"],
            "space": run.config["space"],
            "proxy_task": run.config["proxy_task"],
            "data": session["data"],
        },
    }


def export_top(run: Run, *, top: int, run_name: str, output_dir: Path) -> list[Path]:
    """Write the ``top`` best architectures, one file each, best first, in place of an earlier export.

    Files in ``output_dir`` that are named as an export names them and are not written this time are removed:
    they are of ranks that no longer hold. Anything else there is left alone.

    Args:
        run: the run.
        top: how many; fewer are written if fewer completed.
        run_name: becomes part of every spec's name.
        output_dir: where to; made if missing. Each file appears whole or not at all.

    Returns:
        The files written.

    Raises:
        ValueError: nothing has completed yet, ``top`` is less than 1, or ``output_dir`` is a file.
    """
    if top < 1:
        raise ValueError(f"--top: must be at least 1, got {top}")
    best = ranked_trials(run.trials)[:top]
    if not best:
        raise ValueError(f"{run_name}: no trial has completed, so there is nothing to export yet")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"--output: must be a folder, but a file is at {output_dir} or above it") from error
    paths = []
    for rank, trial in enumerate(best, start=1):
        path = output_dir / f"{rank:02d}_{trial.arch_id}.json"
        text = pretty_json(export_dict(run, trial, rank=rank, run_name=run_name))
        _write_whole(path, text)
        paths.append(path)
    _remove_earlier(output_dir, run_name, paths)
    return paths


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_earlier(output_dir: Path, run_name: str, written: Sequence[Path]) -> None:
    """Remove what an earlier export of the same run left; ranks change as a run grows."""
    for path in output_dir.iterdir():
        if path in written or not _EXPORT_NAME.fullmatch(path.name) or not path.is_file():
            continue
        try:
            exported = json.loads(path.read_text(encoding="utf-8"))
            is_ours = exported["search"]["run"] == run_name
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if is_ours:
            path.unlink()
