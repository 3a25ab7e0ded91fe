"""What a command's arguments say of a training: its settings and its model."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import CommandParser

if TYPE_CHECKING:
    from spinesearch.search.training.model_source import ModelSource
    from spinesearch.search.training.train_config import TrainConfig


def add_model(parser: CommandParser) -> None:
    """Take the model, and the rank of a run's."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a name (spinesearch models), a spec file, or a run"
    )
    parser.add_argument("--rank", type=int, metavar="K", help="of a run: the K-th best network (default: 1)")


def model_argument(options: Namespace) -> str | None:
    """The word for the model; where a setting stands in its place, that is put among the others."""
    if options.model is not None and "=" in options.model:
        options.overrides.insert(0, options.model)
        options.model = None
    word: str | None = options.model
    return word


def wanted_training(options: Namespace) -> tuple[TrainConfig, ModelSource]:
    """The training that the arguments of a command name.

    Raises:
        ValueError: they name none, or one whose network cannot be as the settings say.
    """
    from spinesearch.search.config.run_config import compose
    from spinesearch.search.config.sections import TRAINING
    from spinesearch.search.training.model_source import check_fusion_fits
    from spinesearch.search.training.train_config import train_config

    model = model_argument(options)
    if model is None:
        raise ValueError("MODEL: must be given: a published name, a spec file, or a run")
    config = train_config(compose(options.overrides, TRAINING))
    source = _find_model(model, options.rank)
    check_fusion_fits(source, config.train)
    return config, source


def _find_model(text: str, rank: int | None) -> ModelSource:
    """What ``MODEL`` names.

    Raises:
        ValueError: nothing, or a rank is given for what has none.
    """
    from spinesearch.cli.os_errors import named_files
    from spinesearch.cli.runs.recorded import find_run, named_run
    from spinesearch.results.ledger.run import load_run
    from spinesearch.search.training.model_source import file_source, published_source, run_source

    path = Path(text).expanduser()
    is_run = path.is_dir() or named_run(text).is_dir() or (os.sep in text and path.suffix != ".json")
    with named_files({"MODEL": path}):
        if is_run:
            run_dir = find_run(text)
            run, _ = load_run(run_dir)
            return run_source(run, run_dir, 1 if rank is None else rank)
        if rank is not None:
            raise ValueError(f"--rank: is for a search's run, and {text} is none; leave it out")
        return file_source(path) if path.suffix == ".json" else published_source(text)
