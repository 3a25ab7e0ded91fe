"""A network as one Python file that needs torch and nothing of ours, and its weights beside it."""

from __future__ import annotations

import ast
import inspect
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from spinesearch.data.whole_file import file_name, write_whole
from spinesearch.models.weights.description import Headed, Network
from spinesearch.results.export.plain_twin import (
    class_names,
    describe_plain,
    head_parts,
    kind_of,
    plain_parts,
    plain_twin,
)

_LINE = 200  # a block's settings stay together
_LOADING = '''
def build() -> {kind}:
    """The network with initial weights."""
    style = Style(**NETWORK["style"])
    backbone = build_backbone(NETWORK["backbone"], style)
    return {returned}


def load(path: str | Path | None = None) -> {kind}:
    """The network in evaluation mode with the weights of a file, by default of that beside this one."""
    path = Path(__file__).with_suffix(".pt") if path is None else path
    network = build()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


if __name__ == "__main__":
    with torch.no_grad():
        outputs = load()(torch.zeros(1, 3, 256, 256))
    if isinstance(outputs, torch.Tensor):
        outputs = [outputs]
    for output in outputs.values() if isinstance(outputs, dict) else outputs:
        print(tuple(output.shape) if isinstance(output, torch.Tensor) else sorted(output))
'''
# By what a network is: its class, how it is made of `backbone`, and how it is used.
_KINDS = {
    "backbone": (
        "nn.Module",
        "backbone",
        "features = network(images)  # {3: [B, C, H/8, W/8], ..., 7: [B, C, H/128, W/128]}",
    ),
    "classifier": (
        "Classifier",
        'build_classifier(backbone, NETWORK["classifier"])',
        "probabilities = network(images).softmax(dim=1)  # [B, K]",
    ),
    "detector": (
        "Detector",
        'build_detector(backbone, NETWORK["head"], style, base_anchor=NETWORK["base_anchor"])',
        "cls_logits, box_deltas = network(images)\n"
        "    detections = network.detect(images)  # [B, 100, 6]: x1, y1, x2, y2, score, class",
    ),
    "Mask R-CNN": (
        "MaskRCNN",
        'build_mask_rcnn(backbone, NETWORK["head"], style, base_anchor=NETWORK["base_anchor"])',
        "detections, masks = network.detect(images)\n"
        "    # [B, 100, 6]: x1, y1, x2, y2, score, class; [B, 100, 28, 28], each over its box",
    ),
}


def write_python_file(module: Network, path: Path, *, name: str, base_anchor: float | None = None) -> Path:
    """Write a network's code to a ``.py`` file and its weights to a ``.pt`` file beside it.

    Args:
        module: a backbone, a RetinaNet, a Mask R-CNN or a Classifier, in evaluation mode on the CPU.
        path: of the code.
        name: what the network is called.
        base_anchor: as for `describe_plain`.

    Returns:
        The path of the weights.
    """
    twin = plain_twin(module, base_anchor=base_anchor)
    text = _file_text(module, name=name, file=path.name, base_anchor=base_anchor)
    weights = path.with_suffix(".pt")
    content = io.BytesIO()  # by name, torch raises no OSError where the disk is full
    torch.save(twin.state_dict(), content)
    write_whole(weights, content.getvalue())
    write_whole(path, text)
    return weights


def _file_text(module: Network, *, name: str, file: str, base_anchor: float | None = None) -> str:
    spine = module.backbone if isinstance(module, Headed) else module
    what = kind_of(module)
    kind, returned, use = _KINDS[what]
    bodies, imports = [], {"pathlib": {"Path"}, "typing": {"Any"}}
    plain_imports = {"torch"}
    for part in [*plain_parts(spine), *head_parts(module)]:
        bodies.append(_without_imports(part, imports, plain_imports))
    network = _literal(describe_plain(module, base_anchor=base_anchor))
    names = class_names(module)
    stem = Path(file).stem
    head = (
        f'"""{file_name(name)}: a {what} written by spinesearch. Needs torch only; weights: {stem}.pt\n\n'
        f"    from {stem} import load\n\n"
        f"    network = load()\n"
        f"    {use}\n\n"
        "Images are [B, 3, H, W], RGB, normalised by ImageNet's mean (0.485, 0.456, 0.406) and deviation\n"
        "(0.229, 0.224, 0.225) of values in 0..1, sides of at least 32 pixels.\n\n"
        "SPDX-License-Identifier: Apache-2.0\n"
        '"""\n'
    )
    return "\n".join(
        [
            head,
            "from __future__ import annotations\n",
            _import_text(imports, plain_imports),
            f"NETWORK: dict[str, Any] = {network}\n",
            *[f"CLASS_NAMES = {names!r}  # by class\n"] * bool(names),
            *bodies,
            _LOADING.format(kind=kind, returned=returned),
        ]
    )


def _without_imports(part: ModuleType, imports: dict[str, set[str]], plain_imports: set[str]) -> str:
    """A module's text from its first definition on; what it imports of others is added to the imports."""
    source = inspect.getsource(part)
    tree = ast.parse(source)
    last = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            last = node.end_lineno or last
            if node.module != "__future__" and not node.module.startswith("spinesearch"):
                imports.setdefault(node.module, set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            last = node.end_lineno or last
            plain_imports.update(
                alias.name + (f" as {alias.asname}" if alias.asname else "") for alias in node.names
            )
    comment = "\n".join(f"# {line}".rstrip() for line in (ast.get_docstring(tree) or "").splitlines())
    return f"\n{comment}\n" + "\n".join(source.splitlines()[last:])


def _literal(value: Any, indent: str = "") -> str:
    """Python's form of plain data, what fits a line on one."""
    if len(indent + repr(value)) <= _LINE or not isinstance(value, dict | list):
        return repr(value)
    inner = indent + "    "
    if isinstance(value, dict):
        items = [f"{key!r}: {_literal(item, inner)}" for key, item in value.items()]
    else:
        items = [_literal(item, inner) for item in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([left, *(f"{inner}{item}," for item in items), indent + right])


def _import_text(imports: dict[str, set[str]], plain_imports: set[str]) -> str:
    lines = [f"import {name}" for name in sorted(plain_imports)]
    lines += [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    ours = [line for line in lines if "torch" in line]
    return "\n".join([*(line for line in lines if line not in ours), "", *ours]) + "\n"
