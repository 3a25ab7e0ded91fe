"""What a reward can be read from: the weights, the statistics of batch normalisation, the metric.

python benchmarks/training/reward_readouts.py OUT.jsonl NUM_ARCHS NUM_SEEDS [key=value ...]

Trains architectures x seeds as `spinesearch proxy variance` does, reads each training in every way, and
prints the intraclass correlation of each reading: they differ in nothing but the reading. OUT.jsonl gets a
line with the settings and one per training; those that are there already are not trained again. Settings
are those of `spinesearch search`; ``proxy_task.bn_momentum`` changes the running statistics and nothing else.
Seeds are not those of `spinesearch proxy`: the same number gives another training.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from spinesearch.data.open import open_data
from spinesearch.data.parallel import processor_name
from spinesearch.models.heads.predict import head_outputs
from spinesearch.proxy_task.model import build_model
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.results.studies.statistics import same_seed_icc, variance_components
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.study.study import sample_architectures
from spinesearch.space import ArchSpec
from spinesearch.training.input.augment import normalize
from spinesearch.training.input.batches import load_batch, shuffled_batches
from spinesearch.training.measure.evaluate import coco_metrics, evaluation_case
from spinesearch.training.measure.evaluators import pycocotools_evaluation
from spinesearch.training.step.train import recalibrate_batch_norm, train
from spinesearch.training.targets.losses import detection_loss
from spinesearch.training.targets.matching import BACKGROUND, make_targets

AVERAGES = (0.9, 0.97)  # decays of averaged weights: over about the last 10 and 33 steps
RECALIBRATION_BATCHES = 8
WIDE_THRESHOLDS = np.linspace(0.2, 0.95, 16)  # COCO's and six below


class Averages:
    """Exponential moving averages of a model's parameters, warmed up as TensorFlow's are."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.by_decay = {decay: copies(model) for decay in AVERAGES}

    def update(self, step: int, loss: float) -> None:
        """Add the weights after a step to the averages."""
        del loss
        weights: list[Tensor] = list(
            self._model.parameters()
        )  # read anew: the optimiser moves them in memory
        for decay, averaged in self.by_decay.items():
            with torch.no_grad():
                torch._foreach_lerp_(averaged, weights, 1 - min(decay, (1 + step) / (10 + step)))


def copies(model: nn.Module) -> list[Tensor]:
    """The model's weights as they are now."""
    return [p.detach().clone() for p in model.parameters()]


def readings(task: ProxyTask, spec: ArchSpec, seed: int) -> dict[str, dict[str, float]]:
    """Every metric by name, for every way to take weights and statistics."""
    torch.manual_seed(seed)
    model = build_model(spec, task.settings, num_classes=task.data.num_classes)
    averages = Averages(model)
    index, size = task.data.train_index, task.settings.batch_size
    generators = [torch.Generator().manual_seed(3 * seed + i) for i in range(3)]

    def batches(count: int, generator: torch.Generator) -> Any:
        order = shuffled_batches(index, batch_size=size, num_batches=count, generator=generator)
        return (load_batch(task.data, rows, task.device) for rows in order)

    train(
        model,
        batches(task.recipe.num_steps, generators[0]),
        task._anchors,
        task.recipe,
        generator=generators[1],
        on_step=averages.update,
    )
    found = {"final weights, running statistics": metrics(task, model)}
    recalibration = list(batches(RECALIBRATION_BATCHES, generators[2]))
    for name, weights in {
        "final weights": copies(model),
        **{f"average {d}": w for d, w in averages.by_decay.items()},
    }.items():
        _assign(model, weights)
        recalibrate_batch_norm(model, recalibration, task._anchors, task.recipe)
        found[f"{name}, statistics anew"] = metrics(task, model)
    return found


def metrics(task: ProxyTask, model: nn.Module) -> dict[str, float]:
    """AP in several forms, and the loss, on the held-out images."""
    scored = task.data.scored
    index = scored.held_out_index
    parts = np.split(index, range(task.settings.batch_size, len(index), task.settings.batch_size))
    found = scored.dataset, index, *task.find(model)[:3]
    coco = coco_metrics(*found)
    assert coco.ap is not None
    loss = held_out_loss(task, model, parts)
    return {
        "ap": coco.ap,
        "ap50": coco.ap50 or 0.0,
        "ap75": coco.ap75 or 0.0,
        "ar100": coco.ar100 or 0.0,
        "ap over IoU .20-.95": pycocotools_evaluation(evaluation_case(*found), WIDE_THRESHOLDS).stats[0],
        "held-out loss": loss,
        "ap - loss / 10": coco.ap - loss / 10,
    }


@torch.inference_mode()
def held_out_loss(task: ProxyTask, model: nn.Module, parts: list[Any]) -> float:
    """The training loss per matched anchor on the held-out images."""
    total = weight = 0.0
    for part in parts:
        batch = normalize(load_batch(task.data.scored, part, task.device).to(task.device))
        classes, codes = make_targets(task._anchors, batch.boxes, batch.labels)
        num_positives = float((classes != BACKGROUND).sum()) + 1.0
        logits, deltas = head_outputs(model, batch.images, task.recipe.precision)
        total += float(detection_loss(logits, deltas, classes, codes)) * num_positives
        weight += num_positives
    return total / weight


def report(records: list[dict[str, Any]]) -> Table:
    """Every reading's variance components over the trainings done."""
    table = Table("reading", "metric", "mean", "sd within", "sd between", "ICC", "95 % interval", "one seed")
    archs, seeds = ({record[key] for record in records} for key in ("arch", "seed"))
    for reading, names in records[0]["readings"].items():
        for metric in names:
            scores = np.full((len(archs), len(seeds)), np.nan)
            for record in records:
                scores[record["arch"], record["seed"]] = record["readings"][reading][metric]
            parts = variance_components([row[np.isfinite(row)].tolist() for row in scores])
            if parts is None or parts.icc is None or parts.interval is None:
                continue
            same = same_seed_icc(scores)
            figures = (parts.mean, parts.within**0.5, parts.between**0.5, parts.icc)
            interval = f"{parts.interval.low:.2f} to {parts.interval.high:.2f}"
            row = [*(f"{value:.3f}" for value in figures), interval, "" if same is None else f"{same:.3f}"]
            table.add_row(reading, metric, *row)
    return table


def main() -> None:
    """Train what is missing, then print the table."""
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    out, num_archs, num_seeds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    config = run_config(compose(sys.argv[4:]))
    print(f"{processor_name()}, torch {torch.__version__}, {sys.argv[2:]}", flush=True)
    torch.set_num_threads(config.proxy_task.num_threads)
    task = ProxyTask(config.proxy_task, open_data(config.data, image_size=config.proxy_task.image_size))
    space = config.space.build()
    archs = [
        space.decode(tokens)
        for tokens, _ in sample_architectures(space, num_archs=num_archs, seed=config.seed)
    ]
    records = open_records(out, {"settings": config.to_dict(), "data": task.data.key})
    done = {(record["arch"], record["seed"]) for record in records}
    for seed in range(num_seeds):
        for number, spec in enumerate(archs):
            if (number, seed) in done:
                continue
            start = time.perf_counter()
            found = readings(task, spec, seed)
            records.append({"arch": number, "seed": seed, "readings": found})
            with out.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
            print(f"architecture {number}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    Console(width=140).print(report(records))


def open_records(out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings in a file; it is created if missing, and a line cut short by a kill is removed."""
    lines = out.read_text().splitlines(keepends=True) if out.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if whole and json.loads(whole[0]) != json.loads(json.dumps(settings)):
        sys.exit(f"{out}: was written with other settings or data; give another file")
    out.write_text("".join(whole or [json.dumps(settings) + "\n"]))
    return [json.loads(line) for line in whole[1:]]


def _assign(model: nn.Module, weights: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)


if __name__ == "__main__":
    main()
