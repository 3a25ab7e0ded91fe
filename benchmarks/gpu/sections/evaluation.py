"""What evaluating a trained model takes: `ProxyTask.evaluate`, the functions it calls timed from outside."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any
from unittest import mock

import torch
from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, configured, table
from torch import nn

from spinesearch.models.heads.detect import Detections
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.model import build_model
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49
from spinesearch.training.measure import found as found_module
from spinesearch.training.measure.evaluators import find_evaluator

# Of `ProxyTask.evaluate`: where it calls what, and how the report names that.
_PARTS = {
    "head_outputs": (found_module, "forward pass"),
    "detect_objects": (found_module, "decoding and suppression"),
    "coco_metrics": (task_module, "COCO evaluation"),
}
_NAMES = [name for _, name in _PARTS.values()]
_SETTINGS = {
    "small": ["proxy_task=small"],
    # A warm-up of 500 steps would leave nothing learnt after 60.
    "paper": [
        "proxy_task=paper",
        "proxy_task.num_epochs=null",
        "proxy_task.num_steps=60",
        "proxy_task.warmup_steps=20",
    ],
}
_QUICK = ("proxy_task.num_steps=2", "proxy_task.warmup_steps=1", "proxy_task.batch_size=4")


def run(quick: bool, emit: Emit) -> None:
    """Emit a part for `small`, then one for `paper`."""
    for name, overrides in _SETTINGS.items():
        if quick and name == "paper":
            return
        _run(name, [*overrides, *(_QUICK if quick else ())], 1 if quick else 3, quick=quick, emit=emit)


def _run(name: str, overrides: list[str], num_rounds: int, *, quick: bool, emit: Emit) -> None:
    drawn = QUICK_DRAWN if quick else (*DRAWN, "data.held_out_share=0.8")
    config, data = configured([*drawn, *overrides])
    task = ProxyTask(config.proxy_task, data)
    model = trained_model(task, config.seed)
    rounds = [measure(task, model) for _ in range(num_rounds)]
    num_images = len(data.held_out_index)
    seconds = {part: median(r[part] for r in rounds) for part in ("all", *_NAMES, "the rest")}
    evaluator = find_evaluator(config.proxy_task.evaluator)
    per_image = rounds[0]["detections"] / num_images
    lines = [
        f"SpineNet-49 after {task.recipe.num_steps} steps; {num_images} held-out images of "
        f"{config.proxy_task.image_size} px in batches of {config.proxy_task.batch_size}, {per_image:.1f} "
        f"detections an image, AP by {evaluator} in {config.proxy_task.num_threads} thread; median of "
        f"{num_rounds} after one that is not counted.",
        "",
        *table(
            ("", "s per 1,000 images", "share"),
            (
                (part, f"{1e3 * value / num_images:.3f}", f"{100 * value / seconds['all']:.1f} %")
                for part, value in seconds.items()
            ),
        ),
    ]
    values = {"num_images": num_images, "detections_per_image": per_image, "seconds": seconds}
    emit(Part(title=f"`{name}`", lines=lines, values=values))


def trained_model(task: ProxyTask, seed: int) -> nn.Module:
    """SpineNet-49 as `ProxyTask.score` leaves it, trained and evaluated once."""
    models = list[nn.Module]()

    def remember(*args: Any, **kwargs: Any) -> nn.Module:
        models.append(build_model(*args, **kwargs))
        return models[-1]

    with mock.patch.object(task_module, "build_model", remember):
        task.score(SPINENET_49, seed)
    return models[-1]  # the last one: after a failed capture the training began again


def measure(task: ProxyTask, model: nn.Module) -> dict[str, float]:
    """Seconds of an evaluation by part, and how many detections it counted."""
    found: defaultdict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            start = _now(task.device)
            result = function(*args, **kwargs)
            found[name] += _now(task.device) - start
            if isinstance(result, Detections):
                found["detections"] += int((result.scores > 0).sum())
            return result

        return call

    with ExitStack() as stack:
        for function, (module, name) in _PARTS.items():
            wrapped = timed(name, getattr(module, function))
            stack.enter_context(mock.patch.object(module, function, wrapped))
        start = _now(task.device)
        task.evaluate(model)
        found["all"] = _now(task.device) - start
    found["the rest"] = found["all"] - sum(found[name] for name in _NAMES)
    return dict(found)


def _now(device: torch.device) -> float:
    """Seconds, with the device's work done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
