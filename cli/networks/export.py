"""``spinesearch export``: specs of a run's best, or one network in a form that needs nothing of ours."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.networks.export_source import Source, build, find_source, is_run, run_source
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, command_parser, path_argument, print_next
from spinesearch.cli.runs.recorded import find_run, read_run
from spinesearch.space.arch.spec import ArchSpec

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run

_ENDINGS = {"json": ".json", "tf": "_blocks.py", "python": ".py", "torch": ".pt2", "onnx": ".onnx"}
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
        "Write the best architectures of a run as JSON block specs, finalists first and with\n"
        "their weights; or all its candidates for other tools; or one network, of a run, a published name,\n"
        "a spec file or a weight file, in a form that needs nothing of ours.",
        "formats:\n"
        "  json    block specs (docs/specs.md)\n"
        "  tf      the block list of the authors' TensorFlow code\n"
        "  python  one file that needs torch only, and its weights beside it\n"
        "  torch   a torch.export program: features, a detector's raw outputs, or a classifier's logits\n"
        "  onnx    features, a detector's detections, or a classifier's logits (docs/deploy.md)\n"
        "  csv, parquet  all candidates of a run, a row each, with metrics, costs and specs\n"
        "  optuna  all candidates of a run as an Optuna journal, for optuna-dashboard (docs/tables.md)\n\n"
        "examples:\n"
        "  spinesearch export 2026-11-23_demo --top 5\n"
        "  spinesearch export detector.safetensors --format onnx --input-size 512\n"
        "  spinesearch export spinenet49 --format python --num-classes 91 -o net.py",
    )
    add = parser.add_argument
    add("source", metavar="RUN|NAME|SPEC|WEIGHTS", help="a run, a published model, .json or .safetensors")
    add("--format", choices=(*_ENDINGS, *_TABLES), default="json", help="default: json")
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
    add("--raw", action="store_true", default=None, help="onnx: a detector's logits and deltas as they are")
    options = parser.parse_args(arguments)
    if not is_run(options.source):
        if options.cfg:
            raise ValueError(f"--cfg: prints a run's configuration, and {options.source} is not a run")
        if options.rank is not None:
            raise ValueError(f"--rank: is for a run, and {options.source} is none; leave it out")
        if options.format in _TABLES:
            raise ValueError(f"--format {options.format}: is for a run, and {options.source} is none")
        _check_options(options, options.format)
        return _export_network(find_source(options.source), options)
    run_dir = find_run(options.source)
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
    if run.training is not None:
        raise ValueError(f"{run_dir}: is a training, whose network lies in {run_dir / 'weights'} already")
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
        return _export_network(source, options)
    _check_options(options, _WHOLE_RUN)
    with named_files({"--output": options.output or run_dir / "export"}):
        top = _TOP if options.top is None else options.top
        paths = write_exports(run, run_dir, top, options.output, options.noise, console=build_console())
    if paths:
        _print_next(paths[0], "json")
    return 0


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


def _export_network(source: Source, options: argparse.Namespace) -> int:
    """Write one network."""
    from spinesearch.data.whole_file import file_name, write_whole

    path = options.output or Path(file_name(source.name) + _ENDINGS[options.format])
    suffix = Path(_ENDINGS[options.format]).suffix or _ENDINGS[options.format]
    if path.suffix != suffix:
        raise ValueError(f"--output: must end in {suffix} for --format {options.format}, got {path}")
    with named_files({"--output": path}):
        if options.format in ("json", "tf"):
            text = _spec_text(source, options.format)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
            print(f"exported {path}")
        else:
            _write_module(source, path, options)
    _print_next(path, options.format)
    return 0


def _print_next(path: Path, form: str) -> None:
    """Print what can be done with a file of a format."""
    name, text = shlex.quote(str(path)), repr(str(path))
    loaded = {
        "torch": f"import torch; print(torch.export.load({text}))",
        "onnx": f"import onnxruntime as ort; print(ort.InferenceSession({text}).get_outputs())",
    }
    commands = {}
    if form == "json":
        commands[f"spinesearch spec show {name}"] = "its cost, and drawn"
        commands[f"spinesearch train {name} data=coco ..."] = "a detector on it"
    elif form == "python":
        commands[f"python -m pydoc {shlex.quote(str(path.absolute()))}"] = "what it offers"
    elif form in loaded:
        commands[shlex.join(["python", "-c", loaded[form]])] = "what it gives"
    print_next(build_console(), commands)


def _spec_text(source: Source, form: str) -> str:
    from spinesearch.space.arch.pretty import pretty_json

    if not isinstance(source.arch, ArchSpec):
        raise ValueError(f"--format {form}: {source.name} is a ResNet, which has no block spec")
    if form == "tf":
        from spinesearch.results.export.tf_list import tf_list_text

        return tf_list_text(source.arch)
    return pretty_json(source.data or source.arch.to_dict())


def _write_module(source: Source, path: Path, options: argparse.Namespace) -> None:
    from spinesearch.data.whole_file import write_whole
    from spinesearch.models.heads.classifier import Classifier
    from spinesearch.models.heads.retinanet import RetinaNet
    from spinesearch.results.export.plain_twin import class_names, plain_twin

    if options.format == "onnx":
        from spinesearch.results.export.onnx_file import check_onnx

        check_onnx()
    if options.backbone_only and options.num_classes is not None:
        raise ValueError("--backbone-only: a backbone alone has no classes; leave --num-classes out")
    size = _size(options.input_size, source.input_size)
    base_anchor = options.base_anchor
    if base_anchor is not None and not 0.0 < base_anchor < math.inf:
        raise ValueError(f"--base-anchor: must be positive and finite, got {base_anchor}")
    module = build(source, num_classes=options.num_classes, backbone_only=bool(options.backbone_only))
    is_detector = isinstance(module, RetinaNet)
    kind = "detector" if is_detector else "classifier" if isinstance(module, Classifier) else "backbone"
    if base_anchor is not None and not is_detector:
        raise ValueError(f"--base-anchor: a {kind} has no anchors; leave the option out")
    if options.raw and not is_detector:
        raise ValueError(f"--raw: a {kind}'s outputs are as they are; leave the option out")
    path.parent.mkdir(parents=True, exist_ok=True)
    if source.module is None:
        print("note: there are no trained weights of it, so it gets initial ones")
    what = f"{source.name}, a {kind}"
    if options.format == "python":
        from spinesearch.results.export.python_file import write_python_file

        weights = write_python_file(module, path, name=source.name, base_anchor=base_anchor)
        print(f"exported {path} and {weights}: {what}")
        return
    twin = plain_twin(module, base_anchor=base_anchor)
    if options.format == "torch":
        from spinesearch.results.export.program import write_program

        write_whole(path, lambda file: write_program(twin, file, size))
    else:
        from spinesearch.results.export.onnx_file import write_onnx

        names, is_raw = class_names(module), bool(options.raw)
        write_whole(path, lambda file: write_onnx(twin, file, size, is_raw=is_raw, class_names=names))
    print(f"exported {path}: {what} for any number of images of {size[0]} x {size[1]}")


def _size(text: str | None, default: int) -> tuple[int, int]:
    """Height and width of ``N`` or ``HxW``."""
    from spinesearch.space.cost.plan import image_size

    if text is None:
        return image_size(default)
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"--input-size: must be one side or HxW in pixels, got {text!r}")
    numbers = [int(side) for side in sides]
    return image_size(numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1]))
