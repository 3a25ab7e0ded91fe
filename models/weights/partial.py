"""A network filled as far as a weight file fits it, where a training begins from other weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from spinesearch.models.fit import NUM_SHOWN
from spinesearch.models.weights.description import Headed, describe
from spinesearch.models.weights.files import SUFFIX, check_format, converted, weight_header
from spinesearch.models.weights.whole_file import check_whole

_BACKBONE = "backbone."
# What makes a tensor another one although name and shape are the same.
_SAME = ("architecture", "compat", "activation")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """What of a network came from a file.

    Attributes:
        num_taken: tensors that did.
        kept: names of those that keep their initial values, each with the reason.
        left_over: names of the file's tensors that the network has no place for.
    """

    num_taken: int
    kept: tuple[str, ...]
    left_over: tuple[str, ...]

    def lines(self) -> list[str]:
        """The same for people, empty but for the first if all of both fits."""
        lines = [f"{self.num_taken} tensors are taken"]
        for names, what in ((self.kept, "keep their initial values"), (self.left_over, "are left over")):
            if names:
                more = f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
                lines.append(f"{len(names)} {what}: {', '.join(names[:NUM_SHOWN])}{more}")
        return lines


def check_init_from(path: Path) -> None:
    """Returns if a path may name weights, before anything is read.

    Raises:
        ValueError: there is no such file, or it is no weight file by its name.
    """
    if not path.exists():
        raise ValueError(f"init_from: {path}: there is no such file; give one that ends in {SUFFIX}")
    if path.suffix != SUFFIX or not path.is_file():
        raise ValueError(f"init_from: {path}: is not a weight file; give one that ends in {SUFFIX}")


def fill_from(network: Headed, path: Path) -> Filled:
    """Take from a file of any network or backbone every tensor whose name and shape this one has.

    Raises:
        ValueError: it is no weight file, of another architecture, compat or activation, or nothing fits.
        OSError: it cannot be read.
    """
    check_init_from(path)
    check_whole(path)
    state = network.state_dict()
    kept: list[str] = []
    num_taken = 0
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            check_format(header, f"init_from: {path}")
            _check_header(header, network, path)
            stored = set(file.keys())
            is_backbone = not any(name.startswith(_BACKBONE) for name in stored)
            for name, tensor in state.items():
                theirs = name.removeprefix(_BACKBONE) if is_backbone and name.startswith(_BACKBONE) else name
                if theirs not in stored:
                    kept.append(f"{name} (not in the file)")
                    continue
                stored.discard(theirs)
                value = file.get_tensor(theirs)
                if value.shape != tensor.shape:
                    kept.append(f"{name} ({list(value.shape)} in the file, {list(tensor.shape)} here)")
                else:
                    with torch.no_grad():
                        tensor.copy_(converted(f"init_from: {path}", theirs, value, tensor))
                    num_taken += 1
    except SafetensorError as error:
        raise ValueError(f"init_from: {path}: is damaged or not a safetensors file: {error}") from error
    if num_taken == 0:
        raise ValueError(f"init_from: {path}: no tensor fits the model; give weights of its architecture")
    return Filled(num_taken=num_taken, kept=tuple(kept), left_over=tuple(sorted(stored)))


def _check_header(stored: dict[str, str], network: Headed, path: Path) -> None:
    """Raises `ValueError` if the header says that equal names mean other tensors."""
    ours = weight_header(describe(network))
    for key in _SAME:
        if stored.get(key, ours[key]) != ours[key]:
            what = "" if key == "architecture" else f": {stored[key]}, the model's is {ours[key]}"
            raise ValueError(f"init_from: {path}: holds weights of another {key}{what}")
