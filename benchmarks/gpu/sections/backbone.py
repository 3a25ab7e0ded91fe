"""SpineNet-49 forward and in training, ours against the plain port, at the proxy's and the paper's width."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from check_parts import Emit, Part, table

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from model_timing import MODES, Setting, measure
from model_variants import PLAIN, SCALINGS

from spinesearch.space import SPINENET_49

# Side and images: of the paper's proxy task, and of the published SpineNet-49, this many a GPU.
_GPU_SIZES = {0.25: (512, 64), 1.0: (640, 16)}


def run(quick: bool, emit: Emit) -> None:
    """Emit a table per width."""
    is_cuda = torch.cuda.is_available()
    dtype = torch.float32 if quick else torch.bfloat16
    name = "float32" if quick else "bfloat16 by autocast"
    device = "cuda" if is_cuda else "cpu"
    setting = Setting(name=name, device=device, dtype=dtype, times_patches=False)
    for width, (side, num_images) in _GPU_SIZES.items():
        side, num_images = (128, 2) if quick else (side, num_images)
        scaling = replace(SCALINGS[width], image_side=side, num_images=num_images)
        times = measure(SPINENET_49, [setting], {width: scaling}, 1 if quick else 15, log=print)
        by_mode = {mode: times[mode, width, setting.name] for mode in MODES}
        rows = []
        for variant in dict.fromkeys(name for seconds in by_mode.values() for name in seconds):
            row = [variant]
            for mode in MODES:
                row += _cells(by_mode[mode], variant, num_images)
            rows.append(row)
        header = [
            "",
            "training step, ms",
            "plain / this",
            "images/s",
            "forward, ms",
            "plain / this",
            "images/s",
        ]
        emit(
            Part(
                title=f"Width {width:g}, {num_images} images of {side} px, {name}",
                lines=table(header, rows),
                values={"width": width, "side": side, "num_images": num_images, "seconds": by_mode},
            )
        )


def _cells(times: dict[str, list[float]], variant: str, num_images: int) -> list[str]:
    """Median and range in ms, how often this runs while the plain port runs once, and images per second."""
    if variant not in times:
        return ["-"] * 3
    own = times[variant]
    ratio = median(a / b for a, b in zip(times[PLAIN.name], own, strict=True))
    ms = f"{1e3 * median(own):.2f} ({1e3 * min(own):.2f} to {1e3 * max(own):.2f})"
    return [ms, f"{ratio:.2f}", f"{num_images / median(own):.0f}"]
