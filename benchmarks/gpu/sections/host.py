"""What feeds the training step, part by part: as it was, then as it is, in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import torch
from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, configured, table

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.scoring.proxy_score import few_held_out
from spinesearch.space import SPINENET_49
from spinesearch.training.input import batches as batches_module
from spinesearch.training.input import device_pack
from spinesearch.training.step import train as train_module

_QUICK = (
    "proxy_task.image_size=128",
    "proxy_task.batch_size=2",
    "proxy_task.num_epochs=null",
    "proxy_task.num_steps=6",
    "proxy_task.warmup_steps=1",
)
_NUM_STEPS, _NUM_WARMUP = 45, 20  # of the first, in which graphs are captured, none is counted


class Form(NamedTuple):
    """One form of a part.

    Attributes:
        name: in the report.
        patches: what differs from the product's code: module, name and value.
        settings: what differs in `ProxySettings`.
    """

    name: str
    patches: Sequence[tuple[Any, str, Any]] = ()
    settings: Sequence[tuple[str, Any]] = ()


class Compared(NamedTuple):
    """A part with what it was before, and whether a machine without a GPU has it at all."""

    name: str
    before: Form
    after: Form
    is_of_cpu: bool


def _always(*args: object) -> bool:
    return True


def _never(*args: object) -> bool:
    return False


_PARTS = (
    Compared(
        "kernels cast, batches counted",
        Form("layer by layer", [(train_module, "is_lean", _never)]),
        Form("all at once", [(train_module, "is_lean", _always)]),
        True,
    ),
    Compared(
        "batches in the making",
        Form("one, by one thread", [(batches_module, "NUM_AHEAD", 1), (batches_module, "MAX_THREADS", 1)]),
        Form("two, by several threads"),
        False,
    ),
    Compared(
        "copies to the device",
        Form("between steps", [(batches_module, "copied", lambda batches, device: batches)]),
        Form("beside them, two slots"),
        False,
    ),
    Compared(
        "images that are trained on",
        Form("in main memory"),
        Form("on the device", [(device_pack, "fits", _always)], [("pack_on_device", "auto")]),
        True,
    ),
)


class Measured(NamedTuple):
    """Median seconds of a step, and the most bytes that torch held of the device; 0 where there is no GPU."""

    step_s: float
    peak_memory: int


def run(quick: bool, emit: Emit) -> None:
    """Emit one table, row by row as they are known."""
    drawn = QUICK_DRAWN if quick else DRAWN
    config, data = configured(["proxy_task=paper", *drawn, *(_QUICK if quick else ())])
    settings = config.proxy_task
    if not quick:
        settings = replace(settings, num_epochs=None, num_steps=_NUM_STEPS, warmup_steps=_NUM_WARMUP)
    few = data.scored_on(few_held_out(data.scored, settings.batch_size))
    is_cuda = torch.cuda.is_available()
    rows, values = [], {}
    for part in _PARTS:
        if not (is_cuda or part.is_of_cpu):
            rows.append((part.name, part.before.name, "-", part.after.name, "-", "-", "needs a GPU"))
            continue
        before, after = (_measured(form, settings, few, config.seed) for form in (part.before, part.after))
        memory = " to ".join(f"{m.peak_memory / 2**30:.2f}" for m in (before, after)) if is_cuda else "-"
        ratio = f"{before.step_s / after.step_s:.2f}"
        cells = [f"{1e3 * m.step_s:.2f}" for m in (before, after)]
        rows.append((part.name, part.before.name, cells[0], part.after.name, cells[1], ratio, memory))
        values[part.name] = {"before": before._asdict(), "after": after._asdict()}
        header = ("", "before", "ms a step", "after", "ms a step", "before / after", "peak memory, GiB")
        emit(
            Part(
                title="",
                lines=[
                    f"SpineNet-49, {settings.batch_size} images of {settings.image_size} px a step, "
                    f"{settings.precision}; all other parts as the product has them.",
                    "",
                    *table(header, rows),
                ],
                values={"parts": values},
            )
        )


def _measured(form: Form, settings: ProxySettings, data: ProxyData, seed: int) -> Measured:
    """A short training in this form."""
    moments: list[float] = []
    with ExitStack() as stack:
        for module, name, value in form.patches:
            patch: AbstractContextManager[Any] = mock.patch.object(module, name, value)
            stack.enter_context(patch)
        task = ProxyTask(replace(settings, **dict(form.settings)), data)
        is_cuda = task.device.type == "cuda"
        if is_cuda:
            torch.cuda.empty_cache()  # or what the form before has left counts
            torch.cuda.reset_peak_memory_stats(task.device)
        task.score(SPINENET_49, seed, on_step=lambda step, loss: moments.append(time.perf_counter()))
        peak = torch.cuda.max_memory_reserved(task.device) if is_cuda else 0
    counted = moments[min(_NUM_WARMUP, len(moments) // 2) :]
    return Measured(median(b - a for a, b in pairwise(counted)), peak)
