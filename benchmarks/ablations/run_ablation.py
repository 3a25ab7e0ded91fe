"""Trains what an ablation compares, a line of JSON per training; the same command goes on from there.

python benchmarks/ablations/run_ablation.py NAME [--size a|b] [--data NAME] [--seeds N] [--folder FOLDER]
    [key=value ...]

NAME is order, connections, search, stem or fusion: docs/ablations.md, docs/attention-routing.md. Settings
are as for `spinesearch search`, the data's among them; --data is what the page calls the data, by default
`data.name`. FOLDER (runs/ablations) gets NAME-SIZE-DATA.jsonl, which one process writes at a time, and the
searches of the ablations that have some.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from compared import ABLATIONS, NUM_CANDIDATES, SIZES, TOP_K, Row, Spec, multiply_adds, settings_of

from spinesearch.cli.main import main as spinesearch
from spinesearch.data.cache import build_lock
from spinesearch.data.open import ProxyData, open_data
from spinesearch.models.fusion import SharedFusion
from spinesearch.models.weights.description import Detector
from spinesearch.models.weights.files import load_detector
from spinesearch.proxy_task.request import WEIGHTS, TrainingRequest
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.results.finalists import final_ranking
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.run_config import RunConfig, compose, run_config
from spinesearch.search.environment import machine, versions
from spinesearch.space import ArchSpec

FIRST_SEED = 1000  # of the trainings that are compared; searches have used those from 0 on


def main() -> int:
    """Run an ablation; returns the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("name", choices=tuple(ABLATIONS))
    parser.add_argument("--size", choices=tuple(SIZES), default="a")
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("runs/ablations"))
    given, words = parser.parse_known_args()
    words = [*SIZES[given.size], *words]  # of trainings and searches alike
    try:
        config = run_config(compose(words))
        where = f"{given.size}-{given.data or config.data.name}"
        ablate(given.name, where, config, words, given.folder, num_seeds=given.seeds)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def ablate(
    name: str, where: str, config: RunConfig, words: Sequence[str], folder: Path, *, num_seeds: int
) -> None:
    """Train what has no line yet.

    Raises:
        ValueError: nothing is detected, another process writes the file, or it was begun with other settings
            or data.
    """
    if config.proxy_task.task != "detection":
        raise ValueError(f"proxy_task.task: AP is compared, give detection, got {config.proxy_task.task}")
    data = open_data(config.data, image_size=config.proxy_task.image_size)
    path = folder / f"{name}-{where}.jsonl"
    with build_lock(path, waiting=partial(_refuse_second, path)):
        _ablate(name, where, config, words, path, data, num_seeds=num_seeds)


def _refuse_second(path: Path) -> NoReturn:
    raise ValueError(
        f"{path}: another process is writing it; wait for its end, then give the command again, or give "
        "another --folder"
    )


def _ablate(
    name: str,
    where: str,
    config: RunConfig,
    words: Sequence[str],
    path: Path,
    data: ProxyData,
    *,
    num_seeds: int,
) -> None:
    """The same, as the only process that writes the file."""
    head = {
        "ablation": name,
        "where": where,
        "proxy_task": asdict(config.proxy_task),
        "data_key": data.key,
        "num_images": [len(data.train_index), len(data.scored.held_out_index)],
        "num_candidates": NUM_CANDIDATES,
    }
    head = json.loads(json.dumps(head))  # lists for tuples, as in the file
    lines = read_lines(path)
    if not lines:
        path.write_text(json.dumps({**head, "machine": machine(), "versions": versions()}) + "\n")
    elif differs := [key for key in head if as_of_now(lines[0]).get(key) != head[key]]:
        raise ValueError(f"{path}: was begun with another {differs[0]}; give the same, or another --folder")
    done = {(line["label"], line["seed"]) for line in lines[1:]}
    rows = ABLATIONS[name]
    for seed in range(num_seeds):
        if all((row.label, seed) in done for row in rows):
            continue
        target: int | None = None
        for row in rows:
            spec = row.spec or searched(row, seed, words, path.parent / f"searches-{where}")
            settings = settings_of(row, spec, config.proxy_task, target)
            target = target or multiply_adds(spec, settings)
            if (row.label, seed) in done:
                continue
            found = trained(ProxyTask(settings, data), spec, FIRST_SEED + seed)
            line = {
                "label": row.label,
                "seed": seed,
                "changes": changes(config.proxy_task, settings),
                **found,
            }
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{row.label}, seed {seed}: AP {line['ap']:.4f}", flush=True)


def as_of_now(head: Mapping[str, Any]) -> dict[str, Any]:
    """A file's first line with the settings of today: the default of younger ones, without retired ones."""
    known = {field.name: field.default for field in fields(ProxySettings)}
    begun = {key: head["proxy_task"].get(key, default) for key, default in known.items()}
    return {**head, "proxy_task": json.loads(json.dumps(begun))}


def changes(base: ProxySettings, settings: ProxySettings) -> dict[str, Any]:
    """What differs from the settings of all."""
    return {key: value for key, value in asdict(settings).items() if value != getattr(base, key)}


def searched(row: Row, seed: int, words: Sequence[str], folder: Path) -> ArchSpec:
    """The best network of a row's search with this seed, which is begun or resumed."""
    name = f"{row.label.replace(' ', '-')}-{seed}"
    settings = (
        *(f"runs_dir={folder}", f"name={name}", f"seed={seed}", f"search.num_trials={NUM_CANDIDATES}"),
        *("search.engine=serial", "search.finalists=0", "search.export_top=0"),
    )
    given = [word for word in words if not word.startswith("seed=")]
    if code := spinesearch(["search", *given, *row.search, *settings]):
        refused = "was refused, by the line above: mend what it names"
        raise ValueError(
            f"{folder / name}: the search ended with exit code {code}: it "
            f"{refused if code == 2 else 'stopped early: the same command resumes it'}"
        )
    run, _ = load_run(folder / name)
    return run.spec(final_ranking(run)[0])


def trained(task: ProxyTask, spec: Spec, seed: int) -> dict[str, Any]:
    """What one training gives; of a network that weighs its inputs also AP with fewer weights."""
    weighs = task.settings.fusion != "sum" and isinstance(spec, ArchSpec)
    wants = frozenset({WEIGHTS}) if weighs else frozenset()
    found = task.train(spec, seed, TrainingRequest(wants=wants))
    line = {
        key: value
        for key, value in asdict(found.result).items()
        if key in ("ap", "ap50", "ar100", "num_parameters", "num_multiply_adds", "seconds")
    }
    if weighs:
        line["ap_top_k"] = top_k_aps(task, found.files)
    return line


def top_k_aps(task: ProxyTask, files: Mapping[str, bytes]) -> dict[str, float | None]:
    """AP with each block's k largest weights alone, by k."""
    model = loaded(files, task.device)
    fusion = model.backbone.resamples
    assert isinstance(fusion, SharedFusion)
    aps = {}
    for k in TOP_K:
        fusion.top_k = k
        aps[str(k)] = task.evaluate(model).ap
    return aps


def loaded(files: Mapping[str, bytes], device: torch.device) -> Detector:
    """The detector of the files that a training was asked for."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        return load_detector(Path(folder) / WEIGHTS).to(device)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The file's whole lines; what a killed process left of its last one is cut off."""
    if not path.exists():
        return []
    text = path.read_text()
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
