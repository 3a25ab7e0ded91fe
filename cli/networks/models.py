"""``spinesearch models``: the published models as a table, or one model or spec file with its cost."""

from __future__ import annotations

import os
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spinesearch.cli.parser import build_console, command_parser
from spinesearch.space.arch.resnet import RESNET_LEVELS, ResNetSpec
from spinesearch.space.arch.spec import OUTPUT_LEVELS, ArchSpec, load_spec
from spinesearch.space.cost.cost import Cost, backbone_cost, detector_cost
from spinesearch.space.published import (
    PROTOCOLS,
    PUBLISHED,
    BackboneScaling,
    HeadScaling,
    PublishedModel,
    published,
)

if TYPE_CHECKING:
    from rich.table import Table

_FILE_INPUT_SIZE = 640  # of a spec file, which names none: SpineNet-49's
_MAX_LINE = 100  # of text, in characters
_NUM_CLASSES = 91  # as the published figures count: COCO's largest id, plus 0


class _Model(NamedTuple):
    """What there is to cost: a published model, or a spec file at full width."""

    name: str
    arch: ArchSpec | ResNetSpec
    backbone: BackboneScaling
    head: HeadScaling
    input_size: int

    def costs(self, num_classes: int) -> tuple[Cost, Cost]:
        """Of the backbone, and of the detector."""
        scaling = asdict(self.backbone)
        return backbone_cost(self.arch, self.input_size, **scaling), detector_cost(
            self.arch,
            self.input_size,
            num_classes=num_classes,
            head_num_convs=self.head.num_convs,
            head_num_filters=self.head.num_filters,
            head_is_separable=self.head.is_separable,
            **scaling,
        )


def models(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = command_parser(
        "models",
        "List the published models with parameters, multiply-adds and AP; or show one of\n"
        "them, or a spec file, with its scaling, cost and drawing.",
        "examples:\n"
        "  spinesearch models\n"
        "  spinesearch models SpineNet-49S --input-size 512\n"
        "  spinesearch models runs/2026-11-23_demo/export/FILE.json --num-classes 20",
        has_config=False,
    )
    parser.add_argument(
        "model", nargs="?", metavar="NAME|FILE.json", help="a published model, or a spec file"
    )
    parser.add_argument("--input-size", type=int, metavar="N", help="side of the image in pixels")
    parser.add_argument(
        "--num-classes", type=int, default=_NUM_CLASSES, metavar="N", help=f"default: {_NUM_CLASSES}"
    )
    options = parser.parse_args(arguments)
    console = build_console()
    if options.model is None:
        console.print(_all_models(options.input_size, options.num_classes))
        console.print(_notes())
        return 0
    is_path = options.model.endswith(".json") or os.sep in options.model
    source = None if is_path else published(options.model)
    model = _from_file(Path(options.model)) if source is None else _from_published(source)
    if options.input_size is not None:
        model = model._replace(input_size=options.input_size)
    width = min(console.width, _MAX_LINE)
    table = _one_model(model, source, options.num_classes)
    console.print(_heading(model, width))
    console.print(table)
    if source is not None:
        console.print(_reports(source, width))
    console.print(_drawing(model.arch, console.width))
    return 0


def _from_published(source: PublishedModel) -> _Model:
    return _Model(source.name, source.arch, source.backbone, source.head, source.input_size)


def _from_file(path: Path) -> _Model:
    spec = load_spec(path)
    head = HeadScaling(is_separable=spec.is_mbconv)
    return _Model(spec.name or path.stem, spec, BackboneScaling(), head, _FILE_INPUT_SIZE)


# All models ----------


def _all_models(input_size: int | None, num_classes: int) -> Table:
    table = _empty_table(("model", "input", "params", "madds", *PROTOCOLS))
    for source in PUBLISHED.values():
        model = _from_published(source)
        model = model if input_size is None else model._replace(input_size=input_size)
        _, cost = model.costs(num_classes)
        aps = [str(source.ap.get(protocol, "-")) for protocol in PROTOCOLS]
        sizes = _short(cost.parameters / 1e6, "M"), _short(cost.multiply_adds / 1e9, "B")
        table.add_row(source.name, str(model.input_size), *sizes, *aps)
    return table


def _notes() -> str:
    width = max(map(len, PROTOCOLS))
    return "\n".join(
        [
            "",
            "params, madds: of the detector, computed; multiply-adds of the convolutions.",
            "AP: published, on COCO, at the models' own input size, by training protocol:",
            *(f"  {name.ljust(width)}  {text}" for name, text in PROTOCOLS.items()),
        ]
    )


def _short(number: float, unit: str) -> str:
    """Four digits, two at most behind the point."""
    decimals = 2 if number < 100 else 1 if number < 1000 else 0
    return f"{number:.{decimals}f}{unit}"


# One model ----------


def _heading(model: _Model, width: int) -> str:
    arch, backbone = model.arch, asdict(model.backbone)
    if isinstance(arch, ResNetSpec):
        backbone = {"endpoints_num_filters": model.backbone.endpoints_num_filters}
    elif arch.is_mbconv:
        del backbone["resample_alpha"]
    identity = f" ({arch.arch_id})" if isinstance(arch, ArchSpec) else ""
    head = {f"head_{name}": value for name, value in asdict(model.head).items()}
    lines = [f"{model.name}{identity}, images of {model.input_size} x {model.input_size}", ""]
    for name, fields in (("backbone", backbone), ("head", head)):
        lines.append(_wrapped(name, ", ".join(f"{key}={value}" for key, value in fields.items()), width))
    return "\n".join([*lines, ""])


def _one_model(model: _Model, source: PublishedModel | None, num_classes: int) -> Table:
    backbone, detector = model.costs(num_classes)
    table = _empty_table(("", "params", "madds", "authors' metric"))
    for name, cost in (("backbone", backbone), (f"detector, {num_classes} classes", detector)):
        figures = cost.parameters / 1e6, cost.multiply_adds / 1e9, cost.profiler_multiply_adds / 1e9
        table.add_row(name, *(f"{number:.3f}{unit}" for number, unit in zip(figures, "MBB", strict=True)))
    if source is not None and source.parameters is not None:
        name = f"published, {_NUM_CLASSES} classes at {source.input_size}"
        table.add_row(name, f"{source.parameters}M", "", f"{source.multiply_adds}B")
    return table


def _reports(source: PublishedModel, width: int) -> str:
    aps = ", ".join(f"{protocol}: {ap}" for protocol, ap in source.ap.items()) or "not known here"
    lines = [_wrapped(f"AP at {source.input_size}", aps, width), _wrapped("source", source.source, width)]
    return "\n".join(["", *lines, ""])


def _drawing(arch: ArchSpec | ResNetSpec, width: int) -> str:
    if isinstance(arch, ArchSpec):
        from spinesearch.space.arch.draw import draw_spec

        return draw_spec(arch, max_width=width)
    counts = dict(zip(RESNET_LEVELS, arch.num_blocks, strict=True))
    levels = sorted({*counts, *OUTPUT_LEVELS})
    rows = [
        ["level", *(f"L{level}" for level in levels)],
        ["bottlenecks", *(str(counts.get(level, "")) for level in levels)],
        ["pyramid", *(f"P{level}" if level in OUTPUT_LEVELS else "" for level in levels)],
    ]
    return "\n".join(
        "".join([row[0].ljust(11), *(cell.rjust(5) for cell in row[1:])]).rstrip() for row in rows
    )


# Formatting ----------


def _wrapped(name: str, text: str, width: int) -> str:
    """The text in lines of this width, behind its name."""
    return textwrap.fill(text, width, initial_indent=name.ljust(12), subsequent_indent=" " * 12)


def _empty_table(names: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table
