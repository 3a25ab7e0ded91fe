"""Reads the TensorFlow checkpoints that the authors released, in the two formats they come in.

``v1`` is what the paper's code saves: variables under their own names. ``v2`` is what the Model Garden saves:
variables under their places in a graph of Python objects, with the names noted beside (`tf_names`).
TensorFlow is imported only where a file is opened.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinesearch.models.weights.tf_names import VALUE_SUFFIX, Variable, v1_names
from spinesearch.models.weights.tf_weights import TfUnit

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # in v2 alone
# Last names of a network's variables; all others are slots of optimisers, moving averages or counters.
_CONV_VARIABLES = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias")
_NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: its prefix.
        compat: ``v1`` or ``v2``, the code that wrote it.
        variables: those that may belong to a network.
        num_ignored: how many other entries there are: slots of optimisers, moving averages, counters.
        get_tensor: gives the value under a key.
    """

    path: Path
    compat: str
    variables: tuple[Variable, ...]
    num_ignored: int
    get_tensor: Callable[[str], Any]

    def named(self, units: Sequence[TfUnit]) -> dict[str, Variable]:
        """The variables under the names that `load_tf_weights` reads.

        Args:
            units: of the backbone that they are meant for (`tf_units`).

        Raises:
            ValueError: a v2 checkpoint is of a backbone with other layers.
        """
        if self.compat == "v1":
            return {variable.full_name: variable for variable in self.variables}
        try:
            return v1_names(self.variables, units)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def read(self, variables: Mapping[str, Variable]) -> dict[str, np.ndarray[Any, Any]]:
        """The values of some of the variables, under the names given."""
        with _one_line(self.path):
            return {name: self.get_tensor(variable.key) for name, variable in variables.items()}


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at a path.

    Args:
        path: what all its files begin with, one of its files, or a folder, of which the newest is taken.

    Raises:
        ValueError: there is none, it is damaged, or TensorFlow is not installed.
    """
    prefix = _prefix(path)
    try:
        with _without_stderr():  # a page of notes on the processor
            import tensorflow as tf
            from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
    except ImportError as error:
        raise ValueError(
            f"{path}: reading it needs TensorFlow: pip install 'spinesearch[tensorflow]' ({error})"
        ) from error
    with _one_line(prefix):
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {key: tuple(shape) for key, shape in reader.get_variable_to_shape_map().items()}
        names = {}
        if _OBJECT_GRAPH in shapes:
            graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
            names = {a.checkpoint_key: a.full_name for node in graph.nodes for a in node.attributes}
    return checkpoint_of(prefix, shapes, names, reader.get_tensor)


def checkpoint_of(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    get_tensor: Callable[[str], Any],
) -> Checkpoint:
    """A checkpoint from what its reader reports.

    Args:
        path: its prefix.
        shapes: of everything in it, by key.
        names: that the variables had in the program, by key; empty in v1, where they are the keys.
        get_tensor: gives the value under a key.

    Raises:
        ValueError: a variable of a v2 checkpoint has no name.
    """
    is_v2 = _OBJECT_GRAPH in shapes
    variables = []
    for key, shape in shapes.items():
        last = key.removesuffix(VALUE_SUFFIX).rpartition("/")[2]
        if last in _CONV_VARIABLES or last in _NORM_VARIABLES:
            if is_v2 and not names.get(key):
                raise ValueError(f"{path}: {key} has no name, so its layer is unknown")
            variables.append(Variable(key, names[key] if is_v2 else key, shape))
    return Checkpoint(
        path=path,
        compat="v2" if is_v2 else "v1",
        variables=tuple(variables),
        num_ignored=len(shapes) - len(variables) - is_v2,
        get_tensor=get_tensor,
    )


def _prefix(path: Path) -> Path:
    """What the names of a checkpoint's files begin with."""
    if path.is_dir():
        return _newest(path)
    for suffix in (".index", ".meta", ".data-"):
        stem, found, _ = path.name.rpartition(suffix)
        if found and path.with_name(f"{stem}.index").is_file():
            return path.with_name(stem)
    if not path.with_name(f"{path.name}.index").is_file():
        raise ValueError(
            f"{path}: no TensorFlow checkpoint is there (no file {path.name}.index); give the path up to "
            ".index, or the folder"
        )
    return path


def _newest(folder: Path) -> Path:
    """The checkpoint that a folder's state file names, or else the one that was written last."""
    indices = sorted(folder.glob("*.index"), key=lambda file: (file.stat().st_mtime, file.name))
    if not indices:
        raise ValueError(f"{folder}: no TensorFlow checkpoint is in this folder (no file ends in .index)")
    state = folder / "checkpoint"
    if state.is_file():
        text = state.read_text(encoding="utf-8", errors="replace")
        match = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', text, re.MULTILINE)
        if match and (folder / f"{match[1]}.index") in indices:
            return folder / match[1]
    return indices[-1].with_suffix("")


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drops what is written to standard error, by C++ too; TensorFlow's own switches leave some of it."""
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turns what TensorFlow raises over a damaged file into an error for people."""
    try:
        yield
    except Exception as error:  # its OpError, and ValueError or RuntimeError from the C++ reader
        reason = " ".join(str(getattr(error, "message", None) or error).split())
        raise ValueError(f"{path}: cannot be read as a TensorFlow checkpoint: {reason}") from error
