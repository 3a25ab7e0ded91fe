"""The best architectures of a run as JSON files that `load_spec` reads."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.data.whole_file import write_whole
from spinesearch.results.finalists import Standing, final_ranking, final_standings, finished_rerank
from spinesearch.results.ledger.files import KeptFile, file_path
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial
from spinesearch.space import pretty_json
from spinesearch.space.cost.cost import backbone_cost

_INPUT_SIZE = 640  # pixels, at which costs are given: that of the paper's SpineNet-49
_EXPORT_NAME = re.compile(r"[0-9]{2,}_[0-9a-f]{12}\.json")  # what `export_top` names a file: rank_arch-id


class Noise(NamedTuple):
    """Fields of provenance: the reward's standard deviation between seeds, and the study that measured it."""

    noise_sd: float
    noise_run: str


def export_dict(
    run: Run,
    trial: Trial,
    *,
    rank: int,
    run_name: str,
    noise: Noise | None = None,
    standing: Standing | None = None,
) -> dict[str, Any]:
    """A spec and its provenance: the search's space, seed and setting, the reward and its noise, the cost.

    Args:
        run: the search.
        trial: one of its completed candidates.
        rank: of the candidate, from 1.
        run_name: what the search is called.
        noise: of rewards under the search's setting, where it was measured.
        standing: of the candidate, if it was ranked again.
    """
    spec = run.spec(trial).renamed(f"{run_name}-{rank:02d}")
    session = run.sessions[0]
    proxy = run.config["proxy_task"]
    cost = backbone_cost(spec, _INPUT_SIZE, fusion=proxy.get("fusion", "sum"))
    return {
        **spec.to_dict(),
        "provenance": {
            "run": run_name,
            "version": session["version"],
            "trial": trial.trial,
            "rank": rank,
            "seed": run.config["seed"],
            "reward": {"value": trial.reward, **(noise._asdict() if noise else {})},
            "metrics": dict(trial.metrics),
            **({"reranked": _reranked(run, standing, rank)} if standing else {}),
            "cost": {
                "parameters": cost.parameters,
                "multiply_adds": cost.multiply_adds,
                "input_size": _INPUT_SIZE,
            },
            "tokens": list(trial.tokens),
            "space": run.config["space"],
            "proxy_task": proxy,
            "data": session["data"],
        },
    }


def export_top(
    run: Run,
    *,
    top: int,
    run_name: str,
    output_dir: Path,
    run_dir: Path | None = None,
    noise: Noise | None = None,
) -> list[Path]:
    """Write the ``top`` best architectures, one file each, best first, in place of an earlier export.

    Those that were ranked again come first, in that order, and have the weights of their best training beside
    them, as far as the run's folder still has these: ``01_...weights.safetensors`` with the ``.json`` that
    `spinesearch.load_detector` needs.

    Files in ``output_dir`` that are named as an export names them and are not written this time are removed:
    they are of ranks that no longer hold. Anything else there is left alone.

    Args:
        run: the run.
        run_dir: its folder, if weights are wanted.
        top: how many; fewer are written if fewer completed.
        run_name: becomes part of every spec's name.
        noise: as for `export_dict`.
        output_dir: where to; made if missing. Each file appears whole or not at all.

    Returns:
        The specs written.

    Raises:
        ValueError: nothing has completed yet, ``top`` is less than 1, or ``output_dir`` is a file.
    """
    if top < 1:
        raise ValueError(f"--top: must be at least 1, got {top}")
    best = final_ranking(run)[:top]
    if not best:
        raise ValueError(f"{run_name}: no trial has completed, so there is nothing to export yet")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"--output: must be a folder, but a file is at {output_dir} or above it") from error
    ranked = (row for row in final_standings(run) if row.score is not None)
    by_trial = {row.candidate.trial: row for row in ranked if row.candidate}
    paths = []
    for rank, trial in enumerate(best, start=1):
        path = output_dir / f"{rank:02d}_{trial.arch_id}.json"
        standing = by_trial.get(trial.trial)
        spec = export_dict(run, trial, rank=rank, run_name=run_name, noise=noise, standing=standing)
        write_whole(path, pretty_json(spec))
        paths.append(path)
        if standing is not None and run_dir is not None:
            _write_weights(standing, run_dir, path)
    _remove_earlier(output_dir, run_name, paths)
    return paths


def _reranked(run: Run, standing: Standing, rank: int) -> dict[str, Any]:
    rerank, error = finished_rerank(run), standing.standard_error
    assert rerank is not None
    return {
        "metric": rerank.metric,
        "score": standing.score,
        **({} if error is None else {"sd": error * math.sqrt(len(rerank.seeds))}),
        "num_seeds": len(rerank.seeds),
        "rank": rank,
        "proxy_task": dict(rerank.proxy_task),
    }


def kept_weights(run: Run, trial: Trial, run_dir: Path) -> Path | None:
    """The weights of a finalist's best training, with their ``.json`` beside them; None if there are none.

    Args:
        run: the search.
        trial: one of its candidates.
        run_dir: its folder, which may have lost them.
    """
    for standing in final_standings(run):
        if standing.candidate is trial and standing.best:
            return _kept_files(standing, run_dir).get("weights.safetensors")
    return None


def _kept_files(standing: Standing, run_dir: Path) -> dict[str, Path]:
    """The files of an architecture's best training by name; none if one is gone or torn."""
    best = standing.best
    assert best is not None
    files = {
        name: KeptFile(path=file_path(run_dir, best.trial, name, side=FINALISTS), digest=digest)
        for name, digest in best.files.items()
    }
    if any(file.read() is None for file in files.values()):
        return {}
    return {name: file.path for name, file in files.items()}


def _write_weights(standing: Standing, run_dir: Path, spec_path: Path) -> None:
    """Copy the weights of an architecture's best training beside its spec, unless they are gone or torn."""
    for name, path in _kept_files(standing, run_dir).items():
        write_whole(spec_path.with_suffix(f".{name}"), partial(shutil.copyfile, path))


def _remove_earlier(output_dir: Path, run_name: str, written: Sequence[Path]) -> None:
    """Remove what an earlier export of the same run left; ranks change as a run grows."""
    for path in output_dir.iterdir():
        if path in written or not _EXPORT_NAME.fullmatch(path.name) or not path.is_file():
            continue
        try:
            exported = json.loads(path.read_text(encoding="utf-8"))
            provenance = exported["search" if exported["schema_version"] == 1 else "provenance"]
            is_ours = provenance["run"] == run_name
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if is_ours:
            for file in (path, *output_dir.glob(f"{path.stem}.weights.*")):
                file.unlink()
