"""``spinesearch export``: specs of a run's best, or one network in a form that needs nothing of ours."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.networks.export_network import ENDINGS, export_network, print_following
from spinesearch.cli.networks.export_source import Source, find_source, is_run, run_source, searched_settings
from spinesearch.cli.networks.weights import weight_file
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, command_parser, path_argument
from spinesearch.cli.runs.recorded import find_run, read_run

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run

# What shows all candidates of a run, and its file in RUN/export.
_TABLES = {"optuna": "optuna.log", "csv": "candidates.csv", "parquet": "candidates.parquet"}
_WHOLE_RUN = "json, of a run"
# Which formats an option is for; with any other it would do nothing and is refused.
_FOR = {
    "top": (_WHOLE_RUN,),
    "noise": (_WHOLE_RUN,),
    "rank": ("tf", "python", "torch", "onnx"),
    "num_classes": ("python", "torch", "onnx"),
    "backbone_only": ("python", "torch", "onnx"),
    "base_anchor": ("python", "onnx"),
    "input_size": ("torch", "onnx"),
    "raw": ("onnx",),
}
_TOP, _RANK = 3, 1


def export(arguments: list[str]) -> int:
    """Run ``spinesearch export``; returns its exit code."""
    parser = command_parser(
        "export",
        "Write the best architectures of a search as JSON block specs, finalists first and with\n"
        "their weights; or all its candidates for other tools; or one network, of a search, a training (its\n"
        "best), a published name, a spec file or a weight file, in a form that needs nothing of ours.",
        "formats:\n"
        "  json    block specs (docs/specs.md)\n"
        "  tf      the block list of the authors' TensorFlow code\n"
        "  python  one file that needs torch only, and its weights beside it\n"
        "  torch   a torch.export program: features, a detector's raw outputs, a classifier's logits, or a\n"
        "          Mask R-CNN's detections and masks\n"
        "  onnx    features, a classifier's logits, or detections and a Mask R-CNN's masks (docs/deploy.md)\n"
        "  csv, parquet  all candidates of a run, a row each, with metrics, costs and specs\n"
        "  optuna  all candidates of a run as an Optuna journal, for optuna-dashboard (docs/tables.md)\n\n"
        "examples:\n"
        "  spinesearch export 2026-11-23_demo --top 5\n"
        "  spinesearch export detector.safetensors --format onnx --input-size 512\n"
        "  spinesearch export spinenet49 --format python --num-classes 91 -o net.py",
    )
    add = parser.add_argument
    add("source", metavar="RUN|NAME|SPEC|WEIGHTS", help="a run, a published model, .json or .safetensors")
    add("--format", choices=(*ENDINGS, *_TABLES), default="json", help="default: json")
    add(
        "-o",
        "--output",
        type=path_argument,
        metavar="PATH",
        help="of a whole run: default in RUN/export",
    )
    add("--top", type=int, metavar="N", help=f"json of a run: how many specs (default: {_TOP})")
    add("--noise", metavar="STUDY", help="json of a run: a variance study whose noise the specs then say")
    add("--rank", type=int, metavar="N", help=f"of a run's candidates the N-th best (default: {_RANK})")
    add("--num-classes", type=int, metavar="N", help="a detector of so many classes on an untrained backbone")
    add("--backbone-only", action="store_true", default=None, help="leave the head of a detector out")
    add(
        "--input-size", metavar="N|HxW", help="torch, onnx: of the images, pixels (default: the model's, 640)"
    )
    add(
        "--base-anchor", type=float, metavar="X", help="of the smallest anchor, in strides (as trained, or 3)"
    )
    add("--raw", action="store_true", default=None, help="onnx: a detector's outputs before decoding")
    options = parser.parse_args(arguments)
    if not is_run(options.source):
        if options.cfg:
            raise ValueError(f"--cfg: prints a run's configuration, and {options.source} is not a run")
        return _export_one(partial(find_source, options.source), options, f"{options.source} is none")
    run_dir = find_run(options.source)
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
    if run.training is not None:
        return _export_trained(run_dir, options)
    if run.study is not None:
        raise ValueError(
            f"{run_dir}: is a study, which exports no architectures; `spinesearch show` prints it"
        )
    if options.format in _TABLES:
        _check_options(options, options.format)
        return _export_table(run, run_dir, options)
    if options.format != "json":
        _check_options(options, options.format)
        rank = _RANK if options.rank is None else options.rank
        source = run_source(run, run_dir, rank=rank, with_weights=options.format != "tf")
        return export_network(source, options)
    _check_options(options, _WHOLE_RUN)
    with named_files({"--output": options.output or run_dir / "export"}):
        top = _TOP if options.top is None else options.top
        paths = write_exports(run, run_dir, top, options.output, options.noise, console=build_console())
    if paths:
        print_following(paths[0], "json", searched_settings(run.config["proxy_task"]))
    return 0


def _export_trained(run_dir: Path, options: argparse.Namespace) -> int:
    """The best weights of a training, under its name."""
    best = str(weight_file(str(run_dir)))

    def find() -> Source:
        return find_source(best)._replace(name=run_dir.resolve().name)

    return _export_one(find, options, f"{options.source} is a training")


def _export_one(find: Callable[[], Source], options: argparse.Namespace, what_else: str) -> int:
    """A network that is no search's."""
    if options.rank is not None:
        raise ValueError(f"--rank: is for a search, and {what_else}; leave it out")
    if options.format in _TABLES:
        raise ValueError(f"--format {options.format}: is for a search, and {what_else}")
    _check_options(options, options.format)
    return export_network(find(), options)


def write_exports(
    run: Run,
    run_dir: Path,
    top: int,
    output: Path | None,
    noise_study: str | None = None,
    *,
    console: Console,
) -> list[Path]:
    """The files of a run's best architectures, written by default into its folder; says their names."""
    noise = None
    if noise_study is not None:
        from spinesearch.results.ledger.run import load_run
        from spinesearch.search.study.noise import measured_noise

        study_dir = find_run(noise_study)
        noise = measured_noise(load_run(study_dir)[0], run, name=study_dir.resolve().name)
    from spinesearch.results.export.specs import export_top

    paths = export_top(
        run,
        run_dir=run_dir,
        top=top,
        run_name=run_dir.resolve().name,
        output_dir=output or run_dir / "export",
        noise=noise,
    )
    for path in paths:
        weights = path.with_suffix(".weights.safetensors")
        console.print(f"exported {path}{f' with {weights.name}' if weights.exists() else ''}")
    return paths


def _export_table(run: Run, run_dir: Path, options: argparse.Namespace) -> int:
    """Write all candidates of a run."""
    from spinesearch.data.whole_file import write_whole
    from spinesearch.results.export.candidates import parquet_writer, write_candidates
    from spinesearch.results.export.optuna_journal import write_optuna
    from spinesearch.search.scoring.reward import recorded_rung_reward

    if not run.trials:
        raise ValueError(f"{run_dir}: no candidate has been proposed, so there is nothing to export yet")
    path = options.output or run_dir / "export" / _TABLES[options.format]
    write: Callable[[Path], None]
    if options.format == "optuna":
        name = run_dir.resolve().name
        write = partial(
            write_optuna, run, name=name, rung_value=partial(recorded_rung_reward, config=run.config)
        )
    else:
        write = partial(write_candidates if options.format == "csv" else parquet_writer(), run)
    with named_files({"--output": path}):
        if path.is_dir():
            raise ValueError(f"--output: must be a file, and {path} is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    print(f"exported {path}: {len(run.trials)} candidates")
    if options.format == "optuna":
        print(f"next:\n  pip install optuna-dashboard && optuna-dashboard {shlex.quote(str(path))}")
    return 0


def _check_options(options: argparse.Namespace, form: str) -> None:
    for name, forms in _FOR.items():
        if getattr(options, name) is not None and form not in forms:
            raise ValueError(
                f"--{name.replace('_', '-')}: is for --format {' or '.join(forms)}, and this is {form}"
            )
