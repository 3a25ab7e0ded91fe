"""``spinesearch reproduce``: the paper's results, stage by stage in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.networks.processes import is_first
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, command_parser, fail, path_argument, print_next

if TYPE_CHECKING:
    from spinesearch.search.config.run_config import RunConfig
    from spinesearch.search.reproduce.stages import Reproduction
    from spinesearch.search.training.train_config import TrainConfig

_DEFAULT_SEARCH = "paper_search"
_GPU_DAY_HOURS = 24.0
_NEXT = {
    "verify": ("search", "the paper's search"),
    "search": ("train", "its best, SpineNet-49 and ResNet-50-FPN under one recipe"),
    "train": ("evaluate", "COCO's numbers of what is trained"),
    "evaluate": ("table", "ours beside the paper's"),
}


def reproduce(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = command_parser(
        "reproduce",
        "Reproduce the SpineNet paper in one folder, stage by stage; without a stage all of them in order:\n"
        "  verify    structure, parameters, multiply-adds and seeded outputs of the published models\n"
        "  search    paper_search (default), r0_sp53, r14_sp39, r23_sp30, r35_sp18, cloud or one_gpu_day\n"
        "  train     best (of a search there), spinenet49 and resnet50_fpn under one recipe, or one of them\n"
        "  evaluate  COCO's numbers of what was trained\n"
        "  table     ours beside the paper's, each difference named\n"
        "The same command continues a stage that was interrupted.",
        "examples:\n"
        "  spinesearch reproduce verify\n"
        "  spinesearch reproduce --scale tiny\n"
        "  spinesearch reproduce search paper_search data.train_images=DIR data.train_annotations=FILE \\\n"
        "      search.ray_address=auto\n"
        "  spinesearch reproduce train spinenet49 data.train_images=DIR data.train_annotations=FILE \\\n"
        "      data.val_images=DIR data.val_annotations=FILE\n\n"
        "docs/reproduce.md has the commands for COCO on 8 GPUs, and what they cost.",
        has_config=False,
    )
    parser.usage = (
        "spinesearch reproduce [STAGE [NAME]] [--scale SCALE] [--folder DIR] [--search NAME] [key=value ...]"
    )
    parser.add_argument(
        "--scale", default="coco", metavar="SCALE", help="coco (default) or tiny: generated data"
    )
    parser.add_argument(
        "--folder",
        type=path_argument,
        default=Path("reproduction"),
        metavar="DIR",
        help="of all stages (default: reproduction)",
    )
    parser.add_argument(
        "--search",
        metavar="NAME",
        help="the search whose best is trained (default: the first of those that have been run); without a "
        "stage it is run before",
    )
    parser.add_overrides("STAGE, NAME, and settings of the search or training")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.search.reproduce.stages import NAMES, SCALES, STAGES, Reproduction

    names = [word for word in options.overrides if "=" not in word]
    words = [word for word in options.overrides if "=" in word]
    if options.scale not in SCALES:
        raise ValueError(f"--scale: must be one of {', '.join(SCALES)}, got {options.scale}")
    if options.search not in (None, *NAMES["search"]):
        raise ValueError(f"--search: must be one of {', '.join(NAMES['search'])}, got {options.search}")
    if names and names[0] not in STAGES:
        raise ValueError(f"reproduce {names[0]}: there is no such stage; give one of {', '.join(STAGES)}")
    for name in names[1:]:
        known = NAMES.get(names[0], ())
        if name not in known:
            rule = f"must be one of {', '.join(known)}" if known else "is one word too many"
            raise ValueError(f"reproduce {names[0]}: {name}: {rule}")
    if len(names) > 2:
        raise ValueError(f"reproduce {names[0]}: takes one name, got {' and '.join(names[1:])}")
    with named_files({"--folder": options.folder}):
        reproduction = Reproduction(options.folder, options.scale)
        reproduction.check()
        if not names:
            _check_all(reproduction, options.search or _DEFAULT_SEARCH, words)
        for stage in names[:1] or STAGES:
            code = _stage(reproduction, stage, names[1:], words, options.search, is_one=bool(names))
            if code:
                return code
    if names and names[0] in _NEXT and is_first():
        stage, purpose = _NEXT[names[0]]
        print_next(build_console(), {reproduction.command(stage): purpose})
    return 0


def _check_all(reproduction: Reproduction, search: str, words: Sequence[str]) -> None:
    """Check before the first stage what a later one would refuse: days may lie between the two."""
    from spinesearch.data.data_settings import ClassDataSettings
    from spinesearch.data.sources import val_source
    from spinesearch.search.config.overrides import parse_overrides
    from spinesearch.search.reproduce.stages import BEST

    parse_overrides(words)
    _search_config(reproduction, search, _own("search", words))
    config = _training_config(reproduction, BEST, _own("train", words))
    if not isinstance(config.data, ClassDataSettings):  # which a training of detectors has refused
        val_source(config.data, config.train.image_size)


def _own(stage: str, words: Sequence[str]) -> list[str]:
    """Of settings given to all stages those that this one has."""
    from spinesearch.search.config.sections import SEARCH, TRAINING

    if stage == "evaluate":  # the trainings have recorded what else they were given, as groups
        return [word for word in words if word.startswith("data.")]
    schema = SEARCH if stage == "search" else TRAINING
    return [word for word in words if schema.has(word.partition("=")[0].lstrip("+~"))]


def _stage(
    reproduction: Reproduction,
    stage: str,
    names: Sequence[str],
    words: Sequence[str],
    search: str | None,
    *,
    is_one: bool,
) -> int:
    if stage in ("verify", "table"):
        if is_one and words:
            raise ValueError(f"{words[0]}: reproduce {stage} takes no settings")
        return _verify(reproduction) if stage == "verify" else _table(reproduction)
    if not is_one:
        words = _own(stage, words)
    if stage == "search":
        return _search(reproduction, (*names, search or _DEFAULT_SEARCH)[0], words)
    if stage == "train":
        return _train(reproduction, names, words, search)
    return _evaluate(reproduction, names, words)


def _verify(reproduction: Reproduction) -> int:
    from spinesearch.data.whole_file import write_whole
    from spinesearch.search.reproduce.verify import verify

    console = build_console()
    reproduction.begin()
    checks = verify(
        lambda check: console.print(
            f"{'ok' if check.is_right else 'WRONG'}  {check.what}: {check.ours}"
            + ("" if check.ours == check.published else f", expected {check.published}")
        )
    )
    plain = {"checks": [check._asdict() for check in checks]}
    write_whole(reproduction.verification, json.dumps(plain, indent=1))
    wrong = sum(not check.is_right for check in checks)
    if wrong:
        return fail(f"{wrong} of {len(checks)} checks do not agree with what is published", code=1)
    console.print(f"all {len(checks)} checks agree with what is published")
    return 0


def _search(reproduction: Reproduction, name: str, words: Sequence[str]) -> int:
    from spinesearch.cli.runs.carry_out import carry_out
    from spinesearch.search.reproduce.stages import GPU_DAY
    from spinesearch.search.runs.run_folder import run_dir_of

    config = _search_config(reproduction, name, words)
    sets_length = any(word.startswith("search.num_trials=") for word in words)
    if name == GPU_DAY and reproduction.scale == "coco" and not sets_length:
        config = _of_a_day(config)
    reproduction.begin()
    return carry_out(config, run_dir_of(config), build_console(), says_next=False)


def _search_config(reproduction: Reproduction, name: str, words: Sequence[str]) -> RunConfig:
    from spinesearch.search.config.run_config import compose, run_config
    from spinesearch.search.reproduce.stages import search_words

    place = [f"name={name}", f"runs_dir={reproduction.searches}"]
    return run_config(compose([*search_words(name, reproduction.scale), *words, *place]))


def _of_a_day(config: RunConfig) -> RunConfig:
    """With as many candidates as one GPU searches in a day, finalists included; as begun for a run there."""
    from spinesearch.results.ledger.run import load_run
    from spinesearch.search.estimate.estimate import Stated
    from spinesearch.search.estimate.planned import planned_search
    from spinesearch.search.runs.run_folder import has_run, planned_dir

    def with_trials(number: int) -> RunConfig:
        return replace(config, search=replace(config.search, num_trials=number))

    run_dir = planned_dir(config)
    if has_run(run_dir):
        return with_trials(load_run(run_dir)[0].config["search"]["num_trials"])
    size = config.search.generation_size
    estimate, _ = planned_search(with_trials(size), build_console(), Stated(num_steps=20))
    candidates, *finalists = (part.total_s / 3600 for part in estimate.parts)
    generations = int((_GPU_DAY_HOURS - sum(finalists)) / candidates)
    if generations < 1:
        raise ValueError(
            f"reproduce search: a generation of {size} takes {candidates:.1f} hours here, and the finalists "
            f"{sum(finalists):.1f}; give search.num_trials and fewer search.finalists"
        )
    return with_trials(generations * size)


def _train(reproduction: Reproduction, names: Sequence[str], words: Sequence[str], search: str | None) -> int:
    from spinesearch.cli.networks.train import carry_out_train
    from spinesearch.search.reproduce.sources import source_of
    from spinesearch.search.reproduce.stages import TRAININGS

    wanted = names or TRAININGS
    sources = {name: source_of(reproduction, name, search) for name in wanted}
    configs = {name: _training_config(reproduction, name, words) for name in wanted}
    reproduction.begin()
    for name, config in configs.items():
        code = carry_out_train(config, sources[name], None, says_next=False)
        if code:
            return code
    return 0


def _training_config(reproduction: Reproduction, name: str, words: Sequence[str]) -> TrainConfig:
    from spinesearch.search.config.run_config import compose
    from spinesearch.search.config.sections import TRAINING
    from spinesearch.search.reproduce.stages import training_words
    from spinesearch.search.training.train_config import train_config

    place = [f"name={name}", f"runs_dir={reproduction.trainings}"]
    return train_config(compose([*training_words(reproduction.scale), *words, *place], TRAINING))


def _evaluate(reproduction: Reproduction, names: Sequence[str], words: Sequence[str]) -> int:
    from spinesearch.cli.networks.evaluate import evaluate_on
    from spinesearch.cli.networks.weights import open_weights
    from spinesearch.data.whole_file import write_whole
    from spinesearch.results.ledger.run import load_run
    from spinesearch.search.config.run_config import overridden
    from spinesearch.search.reproduce.sources import trained_weights
    from spinesearch.search.training.train_config import train_config

    console = build_console()
    for name, weights in trained_weights(reproduction, names).items():
        config = train_config(overridden(load_run(reproduction.trainings / name)[0].config, words))
        of_what = {
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "data": {key: value for key, value in asdict(config.data).items() if key != "cache_dir"},
        }
        target = reproduction.evaluation(name)
        if target.is_file() and of_what.items() <= json.loads(target.read_bytes()).items():
            console.print(f"{target}: complete")
            continue
        detector, inference = open_weights(str(weights), None, config.train.device)
        found = evaluate_on(detector, inference, config.data, console).plain
        target.parent.mkdir(exist_ok=True)
        write_whole(target, json.dumps({**found, **of_what}, indent=1))
        console.print(f"{name}: AP {found['AP'] or 0.0:.4f} on {found['num_images']} images, {target}")
    return 0


def _table(reproduction: Reproduction) -> int:
    from spinesearch.data.whole_file import write_whole
    from spinesearch.search.reproduce.table import as_markdown, reproduction_rows

    text = as_markdown(reproduction_rows(reproduction))
    path = reproduction.folder / "table.md"
    write_whole(path, text)
    console = build_console()
    console.print(text)
    console.print(f"written to {path}")
    return 0
