"""A training by the command line at its least, for the commands that read its weights."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_models import TINY

from spinesearch.cli.main import main

NUM_STEPS = 4


def command(folder: Path, cache_dir: Path, *words: str) -> list[str]:
    """The command that trains a network of seven blocks on eight drawn images, and measures it twice."""
    spec = folder / "tiny.json"
    if not spec.exists():
        folder.mkdir(parents=True, exist_ok=True)
        spec.write_text(json.dumps(TINY.renamed("tiny").to_dict()))
    return [
        "train",
        str(spec),
        f"runs_dir={folder / 'runs'}",
        "name=run",
        f"data.cache_dir={cache_dir}",
        "data.num_images=8",
        "data.num_val_images=4",
        "train.image_size=128",
        "train.filter_size_scale=0.0625",
        "train.endpoints_num_filters=8",
        "train.head_num_filters=8",
        "train.num_scales=1",
        "train.num_epochs=2",
        "train.warmup_epochs=0",
        "train.batch_size=4",
        "train.eval_every_epochs=1",
        "train.num_threads=1",
        "train.device=cpu",
        *words,
    ]


def train_run(folder: Path, cache_dir: Path, *words: str) -> Path:
    """The folder of that training, finished."""
    assert main(command(folder, cache_dir, *words)) == 0
    return folder / "runs" / "run"
