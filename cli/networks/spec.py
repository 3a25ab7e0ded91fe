"""``spinesearch spec show | validate | diff | draw | ablate``: block specs, in files or published."""

from __future__ import annotations

import mimetypes
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinesearch.cli.networks.named import Network, find_network
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, command_parser, fail, path_argument, run_subcommand
from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.arch.spec_file import searched_fusion

if TYPE_CHECKING:
    from rich.table import Table

_USAGE = """usage: spinesearch spec show | validate | diff | draw | ablate ...

Block specs: JSON files, as `spinesearch export` writes them, or published names (spinesearch models).

  show      blocks, cost, drawing, and where a file's architecture came from
  validate  whether files are valid specs; a line for each
  diff      what differs between two, and both drawn one below the other
  draw      pictures of architectures, as SVG
  ablate    a network with one connection into each block, for the paper's ablation

spinesearch spec show --help says more.
"""
_SPEC_HELP = "a JSON spec, or a published name"
_STANDARD = "spinenet49"


def spec(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    commands = {"show": _show, "validate": _validate, "diff": _diff, "draw": _draw, "ablate": _ablate}
    return run_subcommand("spec", _USAGE, commands, arguments)


def _show(arguments: list[str]) -> int:
    parser = command_parser(
        "spec show",
        "Print specs with their cost and drawing, and what files say of where they came from.",
        "examples:\n  spinesearch spec show spinenet49\n  spinesearch spec show runs/demo/export/*.json",
        has_config=False,
    )
    parser.add_argument("specs", nargs="+", metavar="FILE|NAME", help=_SPEC_HELP)
    parser.add_argument("--input-size", type=int, metavar="N", help="side of the image in pixels")
    options = parser.parse_args(arguments)
    from spinesearch.cli.networks.models import print_network

    console = build_console()
    for i, network in enumerate([find_network(text) for text in options.specs]):
        console.print("\n" * (i > 0), end="")
        print_network(network, console, options.input_size)
        if network.provenance:
            console.print("\n" + "\n".join(_provenance_lines(network.provenance)))
    return 0


def _provenance_lines(provenance: Mapping[str, Any]) -> list[str]:
    """The fields that fit a line; settings, data and tokens are for programs."""
    lines = []
    for name, value in provenance.items():
        if isinstance(value, list) or name in ("space", "proxy_task", "data"):
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{key}={item}" for key, item in value.items())
        lines.append(f"{name:<11} {value}")
    return lines


def _validate(arguments: list[str]) -> int:
    parser = command_parser(
        "spec validate",
        "Say of each file whether it is a valid spec, and if not, why not; exit code 2 if one is not.",
        "examples:\n  spinesearch spec validate my.json\n  spinesearch spec validate runs/demo/export/*.json",
        has_config=False,
    )
    parser.add_argument("specs", nargs="+", metavar="FILE|NAME", help=_SPEC_HELP)
    code = 0
    for text in parser.parse_args(arguments).specs:
        try:
            arch = find_network(text).arch
        except SpecError as error:
            code = fail(str(error) if str(error).startswith(text) else f"{text}: {error}")
            continue
        what = f"{arch.arch_id}, {len(arch)} blocks" if isinstance(arch, ArchSpec) else "a ResNet"
        print(f"{text}: valid: {arch.name or 'no name'}, {what}")
    return code


def _diff(arguments: list[str]) -> int:
    parser = command_parser(
        "spec diff",
        "Print what differs between two specs, the second SpineNet-49 if it is left out.",
        "examples:\n"
        "  spinesearch spec diff runs/demo/export/FILE.json\n"
        "  spinesearch spec diff a.json b.json --draw both.svg",
        has_config=False,
    )
    parser.add_argument("first", metavar="FILE|NAME", help=_SPEC_HELP)
    parser.add_argument("second", metavar="FILE|NAME", nargs="?", default=_STANDARD, help="likewise")
    parser.add_argument(
        "--draw", type=path_argument, metavar="FILE.svg", help="also draw both, the second below the first"
    )
    options = parser.parse_args(arguments)
    if options.draw is not None and options.draw.suffix != ".svg":
        raise ValueError(f"--draw: the name of a picture must end in .svg, got {options.draw}")
    networks = [find_network(options.first), find_network(options.second)]
    first, second = map(_block_spec, networks)
    console = build_console()
    console.print(_verdict(networks, first, second))
    console.print(_counts_table(networks, first, second))
    console.print(_blocks_table(networks, first, second))
    if options.draw is not None:
        from spinesearch.results.drawing.architecture import draw_architectures

        drawn = draw_architectures([(network.arch, network.name) for network in networks])
        _write_svg("--draw", options.draw, drawn)
    return 0


def _verdict(networks: list[Network], first: ArchSpec, second: ArchSpec) -> str:
    if first.arch_id != second.arch_id:
        return "two different networks"
    one, other = (searched_fusion(network.provenance) for network in networks)
    return "the same network" if one == other else f"the same blocks, joined by fusion {one} and {other}"


def _counts_table(networks: list[Network], *archs: ArchSpec) -> Table:
    """Identity, costs, and how many blocks there are of which kind."""
    from spinesearch.results.tables import narrow_table
    from spinesearch.space.cost.cost import backbone_cost

    size = networks[0].input_size
    fusions = [searched_fusion(network.provenance) for network in networks]
    costs = [backbone_cost(arch, size, fusion=fusion) for arch, fusion in zip(archs, fusions, strict=True)]
    rows: list[tuple[str, list[object]]] = [
        ("arch_id", [arch.arch_id for arch in archs]),
        ("fusion", [*fusions]),
        ("parameters", [f"{cost.parameters / 1e6:.3f}M" for cost in costs]),
        (f"multiply-adds at {size}", [f"{cost.multiply_adds / 1e9:.3f}B" for cost in costs]),
        ("blocks with the stem", [len(arch) for arch in archs]),
        ("no output depends on", [len(arch) - len(live_blocks(arch)) for arch in archs]),
    ]
    counts = [Counter(block.block_type for block in arch.blocks) for arch in archs]
    levels = [Counter(f"level {block.level}" for block in arch.blocks) for arch in archs]
    for pair in (counts, levels):
        rows += [(name, [count[name] for count in pair]) for name in sorted(pair[0] | pair[1])]
    table = narrow_table("backbones at full width")
    _add_columns(table, "", networks)
    for name, values in rows:
        table.add_row(name, *map(str, values))
    return table


def _blocks_table(networks: list[Network], first: ArchSpec, second: ArchSpec) -> Table:
    """The places at which the two have different blocks."""
    from spinesearch.results.tables import narrow_table

    texts = [
        [
            f"L{block.level} {block.block_type}"
            + (f" ({', '.join(map(str, block.parents))})" if block.parents else " (stem)")
            + " output" * block.is_output
            for block in arch.all_blocks
        ]
        for arch in (first, second)
    ]
    length = max(map(len, texts))
    one, other = (text + ["-"] * (length - len(text)) for text in texts)
    different = [i for i in range(length) if one[i] != other[i]]
    table = narrow_table(f"{len(different)} of {length} places have different blocks")
    _add_columns(table, "block", networks)
    for i in different:
        table.add_row(str(i), one[i], other[i])
    return table


def _add_columns(table: Table, first: str, networks: list[Network]) -> None:
    table.add_column(first, no_wrap=True)
    for network in networks:
        table.add_column(network.name, no_wrap=True)


def _draw(arguments: list[str]) -> int:
    parser = command_parser(
        "spec draw",
        "Draw architectures as SVG: blocks by order and level, connections, outputs.",
        "examples:\n"
        "  spinesearch spec draw spinenet49\n"
        "  spinesearch spec draw runs/demo/export/*.json --output pictures/",
        has_config=False,
    )
    parser.add_argument("specs", nargs="+", metavar="FILE|NAME", help=_SPEC_HELP)
    parser.add_argument(
        "-o",
        "--output",
        type=path_argument,
        metavar="PATH",
        help="a file that ends in .svg, for one spec, or a folder (default: here)",
    )
    parser.add_argument(
        "--theme", choices=("auto", "light", "dark"), default="auto", help="default: the reader's"
    )
    options = parser.parse_args(arguments)
    from spinesearch.data.whole_file import file_name
    from spinesearch.results.drawing.architecture import draw_architecture

    networks = [find_network(text) for text in options.specs]
    output = options.output or Path()
    if output.suffix != ".svg" and _is_picture(output) and not output.is_dir():
        raise ValueError(f"--output: pictures are SVG; give a name ending in .svg, or a folder, got {output}")
    if output.suffix == ".svg" and len(networks) > 1:
        raise ValueError(f"--output: must be a folder for {len(networks)} specs, got {output}")
    names = [f"{file_name(network.name)}.svg" for network in networks]
    paths = [output if output.suffix == ".svg" else output / name for name in names]
    if twice := [str(path) for path, count in Counter(paths).items() if count > 1]:
        raise ValueError(f"{twice[0]}: two specs are called so; draw them one by one with --output FILE.svg")
    for path, network in zip(paths, networks, strict=True):
        drawn = draw_architecture(network.arch, title=network.name, theme=options.theme)
        _write_svg("--output", path, drawn)
    return 0


def _ablate(arguments: list[str]) -> int:
    parser = command_parser(
        "spec ablate",
        "Write the spec of a network with one connection into each block (docs/ablations.md): without the\n"
        "short-range one, without the long-range one, or with nothing but sequential ones.",
        "examples:\n"
        "  spinesearch spec ablate r0_sp53 --remove short -o short.json\n"
        "  spinesearch spec ablate runs/demo/export/FILE.json --keep sequential",
        has_config=False,
    )
    parser.add_argument("spec", metavar="FILE|NAME", help=_SPEC_HELP)
    damage = parser.add_mutually_exclusive_group(required=True)
    damage.add_argument("--remove", choices=("short", "long"), help="the connection that is removed")
    damage.add_argument("--keep", choices=("sequential",), help="the connections that are left")
    parser.add_argument(
        "-o", "--output", type=path_argument, metavar="FILE.json", help="default: NAME-WHAT.json, here"
    )
    options = parser.parse_args(arguments)
    from spinesearch.data.whole_file import file_name, write_whole
    from spinesearch.space.arch.damage import damaged

    arch = _block_spec(find_network(options.spec))
    found = damaged(arch.renamed(arch.name or Path(options.spec).stem), options.remove or options.keep)
    path = options.output or Path(f"{file_name(found.name)}.json")
    if path.suffix != ".json":
        raise ValueError(f"--output: the name of a spec must end in .json, got {path}")
    with named_files({"--output": path}):
        write_whole(path, found.to_json())
    size = len(found) - len(live_blocks(found))
    print(
        f"wrote {path}: {found.name}, {found.arch_id}; no output depends on {size} of its {len(found)} blocks"
    )
    return 0


def _block_spec(network: Network) -> ArchSpec:
    """The block spec of a network.

    Raises:
        SpecError: it is a ResNet.
    """
    if not isinstance(network.arch, ArchSpec):
        raise SpecError(
            f"{network.name}: is a ResNet, which has no block spec; give a scale-permuted network"
        )
    return network.arch


def _is_picture(path: Path) -> bool:
    """Whether a name is one of a picture, of any kind."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind.startswith("image/") or kind in ("application/pdf", "application/postscript")


def _write_svg(option: str, path: Path, text: str) -> None:
    from spinesearch.data.whole_file import write_whole

    with named_files({option: path}):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    print(f"drew {path}")
