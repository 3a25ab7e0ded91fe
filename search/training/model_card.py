"""The model card beside a training's weights: what they are, how good, their cost, where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.training_table import best_measurement
from spinesearch.search.config.as_yaml import to_yaml

_TITLES = {"detector": "Detector", "mask_rcnn": "Mask R-CNN", "classifier": "Classifier"}


def model_card(run: Run, measurements: Sequence[Event]) -> str:
    """The card of a training's best and last weights, in Markdown.

    Args:
        run: the training, with the session that is under way.
        measurements: of the training so far, at least one.
    """
    training, first = run.training, run.sessions[0]
    assert training is not None
    best = best_measurement(measurements)
    last = measurements[-1]
    cost, data = training["cost"], first["data"]
    kind = training["model"]["model"]["kind"]
    loader = "load_classifier" if kind == "classifier" else "load_detector"
    lines = [
        f"# {training['name']}",
        "",
        f"{_TITLES[kind]} trained by spinesearch {first['version']}. `best.safetensors` is after step "
        f"{best['step']}, `last.safetensors` after step {last['step']}; `spinesearch evaluate` and `predict` "
        f"read them, and `spinesearch.{loader}` in Python.",
        "",
        "| on the validation images | best | last |",
        "|---|---|---|",
        *_scores(best, last),
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {cost['parameters'] / 1e6:.3f} M |",
        f"| multiply-adds at {run.config['train']['image_size']} px | {cost['multiply_adds'] / 1e9:.3f} B |",
        f"| data | {_cell(run.config['data']['name'])}, key {data['key']} |",
        f"| images | {data['num_train_images']} to train on, {data['num_held_out_images']} to validate on |",
        f"| seed | {run.config['seed']} |",
        f"| machine | {_cell(first['machine'])}, torch {first['torch']} |",
        *([f"| begun from | {_cell(weights)} |"] if (weights := run.config.get("init_from")) else []),
        "",
        "Where the architecture comes from:",
        "",
        *(f"- {name}: {' '.join(str(value).split())}" for name, value in _plain(training["source"])),
        "",
        "Recipe:",
        "",
        "```yaml",
        to_yaml({"train": run.config["train"]}).rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _scores(best: Event, last: Event) -> list[str]:
    """Rows of all scores and of each class's AP; of a Mask R-CNN its masks' too."""
    scored = {"": ("scores", "class_aps"), "masks: ": ("mask_scores", "mask_class_aps")}
    return [
        f"| {prefix}{title}{_cell(name)} | {_number(value)} | {_number(last[field].get(name))} |"
        for prefix, fields in scored.items()
        for field, title in zip(fields, ("", "AP of "), strict=True)
        for name, value in best.get(field, {}).items()
    ]


def _plain(source: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a source says in a word or number, and what the provenance of its file says of its search so."""
    provenance = source.get("provenance")
    said = {**source, **(provenance if isinstance(provenance, dict) else {})}
    return [(name, value) for name, value in said.items() if isinstance(value, str | int | float)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cell(value: object) -> str:
    """A text that stays in its cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")
