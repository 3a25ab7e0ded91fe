"""Whether stored arrays fit a model, by name and shape: one rule and one message for every weight file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NUM_SHOWN = 3  # mismatches that a message spells out


def check_fit(
    needed: Mapping[str, Sequence[int]], stored: Mapping[str, Sequence[int]], *, source: str
) -> None:
    """Compare what a model needs with what a file or mapping holds; returns only if they agree.

    Args:
        needed: shape of everything the model has, by name, in the model's order.
        stored: shape of everything that was given, by name.
        source: what was given, for the message, as in ``weights.safetensors``.

    Raises:
        ValueError: something is missing, of another shape, or left over; the message spells out the first
            three by name and counts the rest.
    """
    problems = []
    for name, shape in needed.items():
        if name not in stored:
            problems.append(f"{name} is missing")
        elif tuple(stored[name]) != tuple(shape):
            problems.append(f"{name} has shape {list(stored[name])} where the model has {list(shape)}")
    problems += [f"{name} is left over" for name in stored if name not in needed]
    if problems:
        more = f"; and {len(problems) - NUM_SHOWN} more" if len(problems) > NUM_SHOWN else ""
        raise ValueError(f"{source}: does not fit the model: {'; '.join(problems[:NUM_SHOWN])}{more}")
