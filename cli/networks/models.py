"""``spinesearch models``: the published models as a table, or one model or spec file with its cost."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

from spinesearch.cli.networks.named import Network, find_network
from spinesearch.cli.parser import build_console, command_parser
from spinesearch.space.arch.resnet import RESNET_LEVELS, ResNetSpec
from spinesearch.space.arch.spec import OUTPUT_LEVELS, ArchSpec
from spinesearch.space.arch.spec_file import searched_fusion
from spinesearch.space.cost.cost import Cost, backbone_cost, classifier_cost, detector_cost
from spinesearch.space.published import PROTOCOLS, PUBLISHED, PublishedModel
from spinesearch.space.published_classifiers import CLASSIFIERS, INPUT_SIZE, RECIPES
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN, PublishedMaskRCNN

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MAX_LINE = 100  # of text, in characters
_NUM_CLASSES = 91  # as the published figures count: COCO's largest id, plus 0


def models(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = command_parser(
        "models",
        "List the published models with parameters, multiply-adds, AP and top-1; or show one of\n"
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
        console.print()
        console.print(_mask_models(options.input_size, options.num_classes))
        console.print(_MASK_NOTES)
        console.print()
        console.print(_all_classifiers())
        console.print(_classifier_notes())
        return 0
    print_network(find_network(options.model), console, options.input_size, options.num_classes)
    return 0


def print_network(
    network: Network, console: Console, input_size: int | None = None, num_classes: int = _NUM_CLASSES
) -> None:
    """Print scaling, cost, reports and drawing of one network, at its own input size or another."""
    if input_size is not None:
        network = network._replace(input_size=input_size)
    width = min(console.width, _MAX_LINE)
    table = _one_model(network, num_classes)
    console.print(_heading(network, width))
    console.print(table)
    if network.source is not None:
        console.print(_reports(network.source, width))
        if (masks := PUBLISHED_MASK_RCNN.get(network.name)) is not None:
            console.print(_mask_report(masks, input_size, num_classes))
            console.print(_mask_scaling(masks, width))
    console.print(_drawing(network.arch, console.width))


def _costs(network: Network, num_classes: int) -> tuple[Cost, Cost]:
    """Of the backbone, and of the detector, with the fusion that a search scored it with."""
    scaling = {**asdict(network.backbone), "fusion": searched_fusion(network.provenance)}
    head = network.head
    return backbone_cost(network.arch, network.input_size, **scaling), detector_cost(
        network.arch,
        network.input_size,
        num_classes=num_classes,
        head_num_convs=head.num_convs,
        head_num_filters=head.num_filters,
        head_is_separable=head.is_separable,
        **scaling,
    )


# All models ----------


def _all_models(input_size: int | None, num_classes: int) -> Table:
    table = _empty_table(("model", "input", "params", "madds", *PROTOCOLS))
    for name, source in PUBLISHED.items():
        model = find_network(name)
        model = model if input_size is None else model._replace(input_size=input_size)
        _, cost = _costs(model, num_classes)
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


_MASK_NOTES = """
params, madds: likewise, of 1,000 regions and 100 masks; background is a class.
box, mask: published AP on COCO of boxes and masks, by paper and code."""


def _mask_models(input_size: int | None, num_classes: int) -> Table:
    table = _empty_table(("Mask R-CNN on", "input", "params", "madds", "box, mask: paper", "code"))
    for model in PUBLISHED_MASK_RCNN.values():
        cost = model.cost(input_size, num_classes=num_classes)
        sizes = _short(cost.parameters / 1e6, "M"), _short(cost.multiply_adds / 1e9, "B")
        table.add_row(model.name, str(input_size or model.input_size), *sizes, *_mask_aps(model).values())
    return table


def _mask_aps(model: PublishedMaskRCNN) -> dict[str, str]:
    """Box and mask AP by source, as in ``42.9, 38.1``."""
    return {
        source: f"{figures.box_ap or '-'}, {figures.mask_ap or '-'}"
        for source, figures in model.figures.items()
    }


def _all_classifiers() -> Table:
    table = _empty_table(("classifier", "data", "params", "madds", *RECIPES))
    for name, classifiers in CLASSIFIERS.items():
        model = PUBLISHED[name]
        for one in classifiers:
            cost = classifier_cost(
                model.arch, INPUT_SIZE, num_classes=one.num_classes, **asdict(model.backbone)
            )
            sizes = _short(cost.parameters / 1e6, "M"), _short(cost.multiply_adds / 1e9, "B")
            tops = [str(one.accuracy[recipe].top1) if recipe in one.accuracy else "-" for recipe in RECIPES]
            table.add_row(name, one.data, *sizes, *tops)
    return table


def _classifier_notes() -> str:
    width = max(map(len, RECIPES))
    return "\n".join(
        [
            "",
            f"top-1: published, in percent, at {INPUT_SIZE} px, by recipe:",
            *(f"  {name.ljust(width)}  {text}" for name, text in RECIPES.items()),
        ]
    )


def _short(number: float, unit: str) -> str:
    """Four digits, two at most behind the point."""
    decimals = 2 if number < 100 else 1 if number < 1000 else 0
    return f"{number:.{decimals}f}{unit}"


# One model ----------


def _heading(model: Network, width: int) -> str:
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


def _one_model(model: Network, num_classes: int) -> Table:
    backbone, detector = _costs(model, num_classes)
    table = _empty_table(("", "params", "madds", "authors' metric"))
    for name, cost in (("backbone", backbone), (f"detector, {num_classes} classes", detector)):
        figures = cost.parameters / 1e6, cost.multiply_adds / 1e9, cost.profiler_multiply_adds / 1e9
        table.add_row(name, *(f"{number:.3f}{unit}" for number, unit in zip(figures, "MBB", strict=True)))
    source = model.source
    if source is not None and source.parameters is not None:
        name = f"published, {_NUM_CLASSES} classes at {source.input_size}"
        table.add_row(name, f"{source.parameters}M", "", f"{source.multiply_adds}B")
    return table


def _reports(source: PublishedModel, width: int) -> str:
    aps = ", ".join(f"{protocol}: {ap}" for protocol, ap in source.ap.items()) or "not known here"
    lines = [_wrapped(f"AP at {source.input_size}", aps, width), _wrapped("source", source.source, width)]
    for one in CLASSIFIERS.get(source.name, ()):
        tops = ", ".join(f"{recipe}: {top.top1} / {top.top5}" for recipe, top in one.accuracy.items())
        what = f"{one.data} at {INPUT_SIZE}, top-1 / top-5: {tops} (paper, section 5.3; zoo)"
        lines.append(_wrapped("classifier", what, width))
    return "\n".join(["", *lines, ""])


def _mask_report(model: PublishedMaskRCNN, input_size: int | None, num_classes: int) -> Table:
    """What a Mask R-CNN on the same backbone costs, beside the figures of both sources."""
    cost, side = model.cost(input_size, num_classes=num_classes), input_size or model.input_size
    table = _empty_table(("Mask R-CNN", "params", "madds", "authors' metric", "box, mask AP"))
    figures = cost.parameters / 1e6, cost.multiply_adds / 1e9, cost.profiler_multiply_adds / 1e9
    numbers = (f"{number:.3f}{unit}" for number, unit in zip(figures, "MBB", strict=True))
    table.add_row(f"{num_classes} classes at {side}", *numbers, "")
    for source, aps in _mask_aps(model).items():
        published = model.figures[source].multiply_adds
        billions = "-" if published is None else f"{published}B"
        table.add_row(f"{source}'s, at {model.input_size}", f"{model.parameters}M", "", billions, aps)
    return table


def _mask_scaling(model: PublishedMaskRCNN, width: int) -> str:
    """What the heads of a Mask R-CNN are, by the names of a training's settings, and where that stands."""
    fields = {
        "endpoints_num_filters": model.backbone.endpoints_num_filters,
        **{f"head_{name}": value for name, value in asdict(model.head).items()},
        "base_anchor": model.base_anchor,
    }
    heads = ", ".join(f"{key}={value}" for key, value in fields.items())
    return "\n".join(["", _wrapped("heads", heads, width), _wrapped("source", model.source, width), ""])


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
