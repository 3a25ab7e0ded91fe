"""`Inference`: what a trained detector or classifier needs besides its network to look at images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from spinesearch.models.heads.anchors import anchors_per_cell

_OF_ANCHORS = ("num_scales", "base_anchor")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """How images are made for a network, and what its outputs mean; part of its weights' description.

    Attributes:
        image_size: side of the square that it is given, in pixels.
        num_scales: anchor sizes per octave; a classifier has no anchors.
        base_anchor: side of the smallest anchor of a level over the level's stride.
        class_names: by label; empty if not known.
    """

    image_size: int
    num_scales: int = 3
    base_anchor: float = 3.0
    class_names: tuple[str, ...] = ()

    def to_dict(self, *, has_anchors: bool = True) -> dict[str, Any]:
        """Plain data for JSON; what concerns anchors only where the network has any."""
        plain = {**asdict(self), "class_names": list(self.class_names)}
        return {name: value for name, value in plain.items() if has_anchors or name not in _OF_ANCHORS}

    @classmethod
    def from_dict(cls, data: Any, *, num_classes: int, num_anchors: int | None) -> Inference:
        """What `to_dict` gave, checked against the network's head.

        Args:
            data: from a file.
            num_classes: of the head.
            num_anchors: likewise; None for a classifier.

        Raises:
            ValueError: a field is missing, unknown, of a wrong type, or does not fit the head.
        """
        names = [field.name for field in fields(cls) if num_anchors or field.name not in _OF_ANCHORS]
        if not isinstance(data, Mapping) or data.keys() != set(names):
            raise ValueError(f"inference: must be an object with the fields {', '.join(names)}")
        values = cls(image_size=1).to_dict() | dict(data)
        types = {"image_size": int, "num_scales": int, "class_names": list}
        for name, wanted in types.items():
            if type(values[name]) is not wanted:
                raise ValueError(f"inference: {name} must be of type {wanted.__name__}, got {values[name]!r}")
        base = values["base_anchor"]
        if type(base) not in (int, float) or not 0 < base < float("inf"):
            raise ValueError(f"inference: base_anchor must be a number above 0, got {base!r}")
        if values["image_size"] < 1 or values["num_scales"] < 1:
            raise ValueError("inference: image_size and num_scales must be at least 1")
        classes = values["class_names"]
        if not all(isinstance(name, str) for name in classes) or len(classes) not in (0, num_classes):
            raise ValueError(f"inference: class_names must be {num_classes} texts, got {len(classes)}")
        if num_anchors is not None and anchors_per_cell(values["num_scales"]) != num_anchors:
            raise ValueError(
                f"inference: num_scales {values['num_scales']} does not make {num_anchors} anchors"
            )
        return cls(**{**values, "class_names": tuple(classes)})
