"""Ours beside the paper's, each difference between the two named: `reproduction_rows`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from spinesearch.results.finalists import final_ranking
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.config.run_config import compose, flat
from spinesearch.search.config.sections import DATA_PATHS, SEARCH, TRAINING
from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS
from spinesearch.search.reproduce.stages import (
    BEST,
    RECIPE,
    SEARCHES,
    TRAININGS,
    Reproduction,
    search_words,
    training_words,
)
from spinesearch.search.training.train_config import FREE_TRAIN_SETTINGS
from spinesearch.space.published import PUBLISHED

_PROTOCOL = {"protocol_a": "A", "protocol_b": "B", "protocol_c": "C"}[RECIPE]
# Sizes of COCO 2017; 117,266 of the training images have objects.
_COCO = {"num_train_images": 118_287, "num_held_out_images": 5_000}
_HELD_OUT = 7_392  # of train2017, by the paper
_OWN = "what is not published, as conf/{}.yaml marks it"
_COMPARED = ("space", "proxy_task", "search", "train", "data")
_WHERE = (*DATA_PATHS, "num_images", "num_val_images", "seed")


class Row(NamedTuple):
    """One figure of ours beside the paper's.

    Attributes:
        what: it is.
        ours: as found.
        paper: as published; a dash where nothing was.
        differs: in what ours was made otherwise, one entry per difference.
    """

    what: str
    ours: str
    paper: str
    differs: tuple[str, ...]


def reproduction_rows(reproduction: Reproduction) -> list[Row]:
    """Every figure that the stages have brought.

    Raises:
        ConfigError: nothing was trained or nothing evaluated yet; the message names the command.
    """
    evaluated = [name for name in TRAININGS if reproduction.evaluation(name).is_file()]
    if not evaluated:
        trained = [name for name in TRAININGS if (reproduction.trainings / name).is_dir()]
        missing, stage = ("evaluated", "evaluate") if trained else ("trained", "train")
        raise ConfigError(
            f"reproduce table: nothing has been {missing} in {reproduction.folder}; "
            f"`{reproduction.command(stage)}` does that"
        )
    return [*_verified(reproduction), *_searched(reproduction), *_trained(reproduction, evaluated)]


def as_markdown(rows: list[Row]) -> str:
    """The rows as a table, and their differences below it, numbered."""
    lines = ["| | ours | paper | differs |", "|---|---|---|---|"]
    notes: dict[str, int] = {}
    for row in rows:
        marks = _marks([notes.setdefault(text, len(notes) + 1) for text in row.differs])
        lines.append(f"| {row.what} | {row.ours} | {row.paper} | {marks or 'in nothing known'} |")
    lines += ["", *(f"[{number}] {text}  " for text, number in notes.items())]
    return "\n".join(lines) + "\n"


def _marks(numbers: list[int]) -> str:
    """Marks of notes, those of three or more in a row as one: ``[1] [4]-[9]``."""
    marks: list[str] = []
    for _, group in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        row = [number for _, number in group]
        marks += [f"[{row[0]}]-[{row[-1]}]"] if len(row) > 2 else [f"[{number}]" for number in row]
    return " ".join(marks)


def _verified(reproduction: Reproduction) -> Iterator[Row]:
    if reproduction.verification.is_file():
        checks = json.loads(reproduction.verification.read_bytes())["checks"]
        num_right = sum(check["is_right"] for check in checks)
        what = "structure, cost and seeded outputs of the published models"
        yield Row(what, f"{num_right} of {len(checks)} checks", "all", ())


def _searched(reproduction: Reproduction) -> Iterator[Row]:
    for name, published in SEARCHES.items():
        if not (reproduction.searches / name).is_dir():
            continue
        run, _ = load_run(reproduction.searches / name)
        differs = search_differences(name, run)
        ours, theirs = f"{run.num_done:,}", "-"
        if published.candidates is not None:
            theirs = f"{published.candidates:,}"
        yield Row(f"search `{name}`: candidates", ours, theirs, differs)
        best = final_ranking(run)
        metric = run.config["search"]["reward_metric"]
        if best:
            what = f"search `{name}`: best reward ({metric})"
            yield Row(what, f"{best[0].reward:.4f}", "-", (*differs, "the paper gives no reward"))


def _trained(reproduction: Reproduction, evaluated: list[str]) -> Iterator[Row]:
    for name in evaluated:
        run, _ = load_run(reproduction.trainings / name)
        numbers = json.loads(reproduction.evaluation(name).read_bytes())
        differs = list(training_differences(run, numbers["num_images"]))
        model, what = name, f"{name}: AP"
        if name == BEST:
            assert run.training is not None
            searched = run.training["source"]["run"]
            model = SEARCHES[searched].found
            what = f"best of `{searched}`: AP"
            if model:
                differs.append(f"the paper's figure is that of {model}, which its search found")
        reported = PUBLISHED[model].ap.get(_PROTOCOL) if model else None
        paper = "-" if reported is None else f"{reported}"
        yield Row(what, f"{100 * (numbers['AP'] or 0.0):.1f}", paper, tuple(differs))


def search_differences(name: str, run: Run) -> tuple[str, ...]:
    """In what a run of a search departs from what was published, or from `search_words` at full scale."""
    published = compose([*search_words(name, "coco"), *_placeholders()], SEARCH)
    free = {f"search.{key}" for key in (*FREE_SEARCH_SETTINGS, "finalists")}
    found = list(_differences(run.config, published, free))
    num_held_out = run.sessions[0]["data"]["num_held_out_images"]
    if SEARCHES[name].candidates is not None:
        found += ["the controller's settings, which are not published", _OWN.format("proxy_task/paper")]
        if num_held_out != _HELD_OUT:
            found.append(f"{num_held_out:,} held-out images, published {_HELD_OUT:,}")
    return tuple(found)


def training_differences(run: Run, num_val_images: int) -> tuple[str, ...]:
    """In what a training departs from the paper's."""
    published = compose([*training_words("coco"), *_placeholders()], TRAINING)
    found = list(_differences(run.config, published, {f"train.{key}" for key in FREE_TRAIN_SETTINGS}))
    found.append(_OWN.format(f"train/{RECIPE}"))
    counts = {**run.sessions[0]["data"], "num_held_out_images": num_val_images}
    for key, text in (("num_train_images", "training"), ("num_held_out_images", "validation")):
        if counts[key] != _COCO[key]:
            found.append(f"{counts[key]:,} {text} images, COCO 2017 has {_COCO[key]:,}")
    return tuple(found)


def _differences(config: Mapping[str, Any], published: Mapping[str, Any], free: set[str]) -> Iterator[str]:
    ours = flat({key: config[key] for key in _COMPARED if key in config})
    theirs = flat(published)
    for key in sorted(ours.keys() & theirs.keys()):
        section, _, name = key.partition(".")
        if key in free or (section == "data" and name in _WHERE):
            continue
        if ours[key] != theirs[key]:
            yield f"{key} {_word(ours[key])} in place of {_word(theirs[key])}"


def _word(value: Any) -> str:
    """A setting as a yaml file has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _placeholders() -> list[str]:
    """Data that need not be there: only settings are compared."""
    return ["data.train_images=.", "data.train_annotations=."]
