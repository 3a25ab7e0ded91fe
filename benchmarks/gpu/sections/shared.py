"""Small candidates on one GPU: 1, 2, 4 and 8 processes that train at `small` at once, as fractions of it do.

python -m sections.shared SHARE [--quick] is one of these processes: started by the section.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, configured, table

FOLDER = Path(__file__).parents[1]  # from which Python finds `sections`
_QUICK = ("proxy_task.batch_size=2", "proxy_task.warmup_steps=1")
_NUM_STEPS, _NUM_QUICK_STEPS = 200, 3
_UNCOUNTED = 0.2  # share of the steps; building and captures, the processor's work, are over by then


def run(quick: bool, emit: Emit) -> None:
    """Emit one table, row by row as they are known."""
    settings = configured(_words(quick))[0].proxy_task  # and the data are drawn before anybody waits for them
    num_steps = _NUM_QUICK_STEPS if quick else _NUM_STEPS
    num_images = settings.batch_size * (num_steps - 1 - _first_counted(num_steps))
    how = (
        "Under MPS: their kernels run side by side."
        if _has_mps()
        else "Without MPS they take turns; `nvidia-cuda-mps-control -d` before the check starts it."
    )
    text = (
        f"SpineNet-49 at `small`, {settings.batch_size} images of {settings.image_size} px a step, in "
        f"processes with a fraction of the memory each. {how}"
    )
    rows, values = [], {}
    for count in (1, 2) if quick else (1, 2, 4, 8):
        spans = _at_once(count, quick)
        rate = count * num_images / (max(end for _, end in spans) - min(begin for begin, _ in spans))
        values[str(count)] = rate
        rows.append((count, f"{rate:.0f}", f"{rate / values['1']:.2f}"))
        header = ("processes", "training images/s, all together", "of one process's")
        found = {"images_per_s": values, "has_mps": _has_mps()}
        emit(Part(title="", lines=[text, "", *table(header, rows)], values=found))


def _words(quick: bool) -> list[str]:
    return ["proxy_task=small", *(QUICK_DRAWN if quick else DRAWN), *(_QUICK if quick else ())]


def _has_mps() -> bool:
    """Whether a daemon of MPS is running where CUDA looks for it."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")) / "control").exists()


def _first_counted(num_steps: int) -> int:
    return int(_UNCOUNTED * num_steps)


def _at_once(count: int, quick: bool) -> list[tuple[float, float]]:
    """When each of so many processes began and ended its counted steps; all are ready before any begins."""
    command = [sys.executable, "-m", "sections.shared", str(1 / count), *(["--quick"] if quick else [])]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER
                )
            )
            for _ in range(count)
        ]
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a process ended before it was ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        spans = []
        for process in processes:
            assert process.stdout is not None
            begin, end = map(float, process.stdout.readline().split())
            spans.append((begin, end))
    return spans


def _train(share: float, quick: bool) -> None:
    """Warm up, say so, wait, train, and say when the steps that count began and ended."""
    from spinesearch.proxy_task.task import ProxyTask
    from spinesearch.search.scoring.proxy_score import few_held_out
    from spinesearch.space import SPINENET_49

    config, data = configured(_words(quick))
    num_steps = _NUM_QUICK_STEPS if quick else _NUM_STEPS
    settings = replace(config.proxy_task, num_epochs=None, num_steps=num_steps, measure_at=())
    few = data.scored_on(few_held_out(data.scored, settings.batch_size))
    task = ProxyTask(settings, few, gpu_share=share)
    task.score(SPINENET_49, seed=0)
    print("ready", flush=True)
    sys.stdin.readline()
    moments = list[float]()
    task.score(SPINENET_49, seed=1, on_step=lambda step, loss: moments.append(time.time()))
    print(moments[_first_counted(num_steps)], moments[-1], flush=True)


if __name__ == "__main__":
    _train(float(sys.argv[1]), "--quick" in sys.argv)
