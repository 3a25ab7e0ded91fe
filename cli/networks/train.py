"""``spinesearch train``: train a model on a data set, or continue the training of the same name."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from spinesearch.cli.networks.training_words import add_model, model_argument, wanted_training
from spinesearch.cli.parser import build_console, command_parser, print_next

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run
    from spinesearch.search.training.model_source import ModelSource
    from spinesearch.search.training.train_config import TrainConfig

_STOPPING = b"\nstopping with a checkpoint after this step; another Ctrl-C stops at once\n"


def train(arguments: list[str]) -> int:
    """Run ``spinesearch train``; returns its exit code."""
    parser = command_parser(
        "train",
        "Train a detector or a classifier: a published model, a spec file, or what a search has found.\n"
        "With name=NAME it is written to runs/NAME, and the same command continues it.",
        "examples:\n"
        "  spinesearch train spinenet49 train=quick\n"
        "  spinesearch train runs/2026-11-23_demo --rank 1 data=coco data.train_images=DIR \\\n"
        "      data.train_annotations=FILE data.val_images=DIR data.val_annotations=FILE\n"
        "  spinesearch train spec.json train=finetune init_from=FILE.safetensors train.frozen=[backbone]\n"
        "  spinesearch train spinenet49 train=imagenet data=classes data.train_images=DIR \\\n"
        "      data.val_images=DIR\n"
        "  spinesearch train spinenet49 name=b search.num_workers=8 search.ray_address=auto\n\n"
        "groups: train=quick|protocol_a|protocol_b|protocol_c|mask_rcnn|finetune|imagenet|imagenet_improved\n"
        "        data=generated|coco|classes\n"
        "        --cfg prints every setting with its value. docs/train.md has more.",
    )
    add_model(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, and show what would run and what it would take, without starting it",
    )
    parser.add_quiet()
    parser.add_overrides("settings to change")
    options = parser.parse_with_overrides(arguments)
    if options.cfg:
        from spinesearch.search.config.run_config import composed_yaml
        from spinesearch.search.config.sections import TRAINING

        model_argument(options)
        print(composed_yaml(options.overrides, TRAINING), end="")
        return 0
    config, source = wanted_training(options)
    if options.dry_run:
        from spinesearch.cli.proxy.estimate import show_planned_training

        return show_planned_training(config, source)
    return carry_out_train(config, source, None, quiet=options.quiet)


def resume_training(run: Run, run_dir: Path, overrides: list[str], *, only_print: bool, quiet: bool) -> int:
    """Continue a training; returns the exit code.

    Args:
        run: as recorded.
        run_dir: its folder.
        overrides: settings to change.
        only_print: print the configuration and stop.
        quiet: print warnings and errors alone.
    """
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import overridden
    from spinesearch.search.training.train_config import train_config

    config = train_config(overridden(run.config, overrides))
    if only_print:
        print(to_yaml(config.to_dict()), end="")
        return 0
    return carry_out_train(config, None, run_dir, quiet=quiet)


def carry_out_train(
    config: TrainConfig,
    source: ModelSource | None,
    run_dir: Path | None,
    *,
    quiet: bool = False,
    says_next: bool = True,
) -> int:
    """Train to the end, and unless told otherwise say which commands may follow; returns the exit code."""
    from spinesearch.results.ledger.files import WEIGHTS_FOLDER
    from spinesearch.results.training_table import best_line, best_measurement
    from spinesearch.search.training.recorder import BEST
    from spinesearch.training.recipe import CLASSIFICATION

    if config.search.num_workers is None:
        run, folder, console = _train_here(config, source, run_dir, quiet=quiet)
    else:
        run, folder, console = _train_on_ray(config, source, run_dir, quiet=quiet)
    if run is None:
        return 0
    best = best_measurement(run.measurements)
    weights = shlex.quote(str(folder / WEIGHTS_FOLDER / BEST))
    console.print(best_line(best))
    if not says_next:
        return 0
    if config.train.task == CLASSIFICATION:
        data, scores, predictions, kind = "classes", "top-1 and top-5", "the likely classes", "classifier"
    else:
        data, scores, predictions, kind = "coco", "COCO's numbers", "pictures with boxes", "detector"
    print_next(
        console,
        {
            f"spinesearch evaluate {weights} data={data} ...": f"{scores} on another data set",
            f"spinesearch predict {weights} IMAGE... --output DIR": predictions,
            f"spinesearch export {weights} --format onnx": f"the {kind} for use elsewhere",
        },
    )
    return 0


def _train_on_ray(
    config: TrainConfig, source: ModelSource | None, run_dir: Path | None, *, quiet: bool
) -> tuple[Run, Path, Console]:
    """The run, its folder and the console, after the training by Ray's workers."""
    from spinesearch.cli.networks.processes import is_one_of_several
    from spinesearch.cli.runs.carry_out import ending, new_run_dir
    from spinesearch.search.training.ray_training import train_on_ray

    if is_one_of_several():
        raise ValueError(
            "search.num_workers: torchrun has started the processes already; leave one of the two out"
        )
    folder, console = run_dir or new_run_dir(config), build_console(quiet=quiet)
    with ending(config, folder, console), _stop_on_signals() as should_stop:
        return train_on_ray(config, source, folder, console, should_stop=should_stop), folder, console


def _train_here(
    config: TrainConfig, source: ModelSource | None, run_dir: Path | None, *, quiet: bool
) -> tuple[Run | None, Path, Console]:
    """The same by this process alone or those of torchrun; no run on any but the first of these."""
    from spinesearch.cli.networks.processes import joined_group
    from spinesearch.cli.runs.carry_out import ending, new_run_dir
    from spinesearch.search.training.train_session import carry_out_training

    with joined_group(config.train.device) as group:
        folder = group.from_first((run_dir or new_run_dir(config)) if group.is_first else Path())
        console = build_console(quiet=quiet)
        if not group.is_first:
            console.file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the process's end
        with ending(config, folder, console), _stop_on_signals() as should_stop:
            run = carry_out_training(config, source, folder, console, group=group, should_stop=should_stop)
            group.from_first(None)  # the others wait until all is measured and written
        return run if group.is_first else None, folder, console


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C has come since this was first asked; a second one waits for no step's end.

    Before that, while data are opened, and after the end, they end the command at once. One that came too
    late to stop anything ends the command as well: what a shell was to do next is not done.
    """
    from spinesearch.cli.networks.processes import is_first

    received: list[int] = []
    before: dict[int, Any] = {}  # handlers

    def note(signum: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signum)
        if is_first():
            os.write(2, _STOPPING)  # a handler must not write to a buffered file

    def should_stop() -> bool:
        if not before:
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, note)
        return bool(received)

    try:
        yield should_stop
        if received:
            raise KeyboardInterrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
