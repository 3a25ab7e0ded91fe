"""Every command that README and docs show is carried out, or composed where that is all that can be done.

The short suite looks at the settings of what trains and carries out what only reads. The long one carries out
the commands of each page in their order, in one folder, with the settings in `TINY` in place of the page's.
`COMPOSED_ONLY` lists what is composed only, and why.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from doc_commands import ROOT, DocCommand, doc_commands
from exported_networks import build

from spinesearch.cli.main import main
from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.models.weights.files import save_weights
from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.config.sections import SEARCH, TRAINING
from spinesearch.space import SPINENET_49

RECORDED = ROOT / "tests" / "fixtures" / "november_2026"
BCCD = ROOT.parent / "shared" / "data" / "bccd"
COMMANDS = [command for command in doc_commands() if command.words[0] == "spinesearch"]
# What is composed and not carried out, by a part of the command: what it needs.
COMPOSED_ONLY = {
    "cluster check": "a cluster",
    "search.ray_address": "a cluster",
    "s3://": "object storage",
    "experiment=paper": "COCO and GPUs",
    "proxy_task=paper": "GPUs",
    "instances_train2017.json": "COCO, or another data set in its folders",
    "data=classes": "a data set of classes; tests/cli/networks/test_classify.py has one",
    "runs/classifier": "a training on such data; the same test has one",
    "data.train_images=...": "the data set of the page's figures",
    "reproduce": "COCO; tests/cli/proxy/test_reproduce.py has every stage in small",
    "search.num_workers": "workers on Ray, which tests/search/workers has",
}
GIVEN = {"b.proxy_task=...": "b.proxy_task=all_outputs", "RUN": "mine", "PRICE": "2.5"}
DATA = ["data.train_images=DIR", "data.train_annotations=FILE"]
VALIDATION = ["data.val_images=my_data/val", "data.val_annotations=my_data/val.json"]
TRAINS = ("search", "resume", "rerank", "train", "proxy", "bench", "cluster")
PLANS = ("estimate", "reproduce")
READS = ("show", "ls", "models", "spec")
# They need runs that differ, go on or have failed, or a shell: tests/cli/runs and tests/cli/machine.
TRIED_ELSEWHERE = ("compare", "stop", "retry", "completion")
NEEDS_TENSORFLOW = ("import-checkpoint",)
NOISE = "--noise"  # of a study under the run's own settings; tests/search/study/test_noise.py has such
HEAVY = ("report", "tensorboard", "evaluate", "predict", "doctor")  # read, but take seconds or weights
LIGHT_EXPORTS = ("json", "tf", "csv", "parquet", "optuna")

_TASK = {
    "proxy_task": "small",
    "proxy_task.num_steps": "2",
    "proxy_task.batch_size": "4",
    "proxy_task.warmup_steps": "1",
    "proxy_task.bn_recalibration_batches": "1",
}
_GENERATED = {"data.num_images": "16", "data.num_val_images": "0", "data.held_out_share": "0.4"}
_SCORED = {**_TASK, "search.engine": "serial", "search.reward_metric": "ap"}
_SEARCH = {
    **_SCORED,
    "search.generation_size": "2",
    "search.num_trials": "4",
    "search.finalists": "0",
}
# In place of what a page says, or behind it.
TINY = {
    "search": _SEARCH,
    "proxy": _SCORED,
    "bench": _TASK,
    "resume": {"search.num_trials": "6"},
    "rerank": {"proxy_task.num_steps": "1", "proxy_task.image_size": "128"},
    "train": {
        "train.image_size": "128",
        "train.filter_size_scale": "0.0625",
        "train.endpoints_num_filters": "8",
        "train.head_num_filters": "8",
        "train.num_scales": "1",
        "train.num_epochs": "1",
        "train.warmup_epochs": "0",
        "train.batch_size": "4",
        "train.num_threads": "1",
    },
}
OPTIONS = {
    "variance": ["--archs", "2", "--seeds", "2"],
    "correlate": ["--archs", "4"],
    "rerank": ["--top", "1", "--seeds", "1"],
    "bench": ["--steps", "2"],
}
SHORTENED = {"search.rungs": "[[5,0.5]]", "b.proxy_task.num_steps": "3", "a.proxy_task.num_steps": "1"}


def of(*names: str) -> list[DocCommand]:
    """The commands of these names, each once."""
    return list({command.words: command for command in COMMANDS if command.words[1] in names}.values())


def given(command: DocCommand) -> list[str]:
    """Its words after the program, with what the page leaves open."""
    words: list[str] = []
    for word in command.words[1:]:
        if word == "...":
            if "data=coco" in command.words:
                words += [] if words[0] == "evaluate" else DATA
                words += VALIDATION if words[0] in ("train", "evaluate") else []
        elif word == "data.train_annotations=FILE.json":  # which is a spec elsewhere
            words.append("data.train_annotations=FILE")
        elif word == "*.json":
            words += ["a.json", "b.json"]
        elif not word.startswith("runs_dir=/"):
            words.append(GIVEN.get(word, word))
    if len(words) > 1 and "://" in words[1]:
        words[1] = "mine"  # a run that would be fetched
    return words


def is_composed_only(command: DocCommand) -> bool:
    """Whether it needs what no test has."""
    return any(part in command.text for part in COMPOSED_ONLY)


def export_form(words: list[str]) -> str:
    """The format of an export."""
    return words[words.index("--format") + 1] if "--format" in words else "json"


def reads_training(words: list[str]) -> bool:
    """Whether its run is a training."""
    return words[1:2] in (["detector"], ["runs/2026-11-27_train"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the specs that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("spec", "FILE", "a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(SPINENET_49.to_dict()))
    return tmp_path


@pytest.fixture
def with_run(folder: Path) -> Path:
    """The folder with a search under all names that the pages give one."""
    for name in ("mine", "my_run", "demo", "2026-11-23_demo", "rungs-go-on"):
        shutil.copytree(RECORDED / "runs" / "search", folder / "runs" / name)
    return folder


def test_no_command_is_of_a_kind_that_nothing_tries():
    tried = {*TRAINS, *PLANS, *READS, *HEAVY, *NEEDS_TENSORFLOW, *TRIED_ELSEWHERE, "export"}
    assert {command.words[1] for command in COMMANDS} <= tried
    assert len(COMMANDS) > 60
    texts = [command.text for command in COMMANDS]
    assert [part for part in COMPOSED_ONLY if not any(part in text for text in texts)] == []


def test_what_cannot_be_carried_out_is_composed(with_run: Path, capsys):
    for command in of(*TRAINS):
        if is_composed_only(command):
            assert main([*given(command), "--cfg"]) == 0, f"{command}: {capsys.readouterr().err}"


def test_every_setting_that_a_page_names_is_there():
    """Hydra would say so too, in ten times the time: the long suite has it do so."""
    for command in of(*TRAINS, *PLANS):
        schema = TRAINING if "train" in command.words[1:3] else SEARCH
        words = [word.removeprefix("a.").removeprefix("b.") for word in given(command) if "=" in word]
        for override in parse_overrides(words):
            assert schema.has(override.key), command


def test_what_reads_is_carried_out(with_run: Path, capsys):
    for command in of(*READS, "export"):
        words = given(command)
        is_light = words[0] != "export" or (export_form(words) in LIGHT_EXPORTS and "--noise" not in words)
        if is_light and not reads_training(words):
            assert main(words) == 0, f"{command}: {capsys.readouterr().err}"


def test_what_needs_tensorflow_is_understood(folder: Path, capsys):
    for command in of(*NEEDS_TENSORFLOW):
        assert main(given(command)) == 2
        assert re.search("tensorflow|no such|no checkpoint", capsys.readouterr().err, re.IGNORECASE)


def test_every_make_target_that_a_page_names_is_there():
    targets = {command.words[1] for command in doc_commands() if command.words[0] == "make"}
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        targets |= set(re.findall(r"`make ([a-z-]*[a-z])\b(?!-)", path.read_text()))
    assert {"setup", "search", "docs"} <= targets
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets <= set(made)


def tiny(words: list[str]) -> list[str]:
    """A command in small: the settings in `TINY` in place of the page's, and behind them."""
    kind = words[1] if words[0] == "estimate" else words[0]
    settings = {} if reads_training(words) else dict(TINY.get(kind, {}))
    if kind in ("search", "train", "proxy", "bench") and "data=coco" not in words:
        settings |= {**_GENERATED, **({"data.num_val_images": "8"} if kind == "train" else {})}
    if any(word.startswith("search.rungs=") for word in words):
        settings["proxy_task.num_steps"] = "10"
    kept = [
        f"{key}={SHORTENED[key]}" if (key := word.partition("=")[0]) in SHORTENED else word
        for word in words
        if word.partition("=")[0] not in settings
    ]
    if words[:2] == ["proxy", "coverage"]:
        settings = {key: value for key, value in settings.items() if key.startswith("data")}
    options = next((OPTIONS[word] for word in words[:2] if word in OPTIONS), [])
    return [*kept, *(f"{key}={value}" for key, value in settings.items()), *options]


def copy_some(images: Path, annotations: Path, folder: Path, count: int) -> None:
    """The first images of a data set into a folder, their annotations beside it."""
    document = json.loads(annotations.read_text())
    document["images"] = document["images"][:count]
    folder.mkdir(parents=True)
    for image in document["images"]:
        shutil.copy(images / image["file_name"], folder)
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [box for box in document["annotations"] if box["image_id"] in kept]
    folder.with_suffix(".json").write_text(json.dumps(document))


def fill(folder: Path, page: str, recorded_run: Path, trained: Path, cache_dir: Path) -> None:
    """Put what the commands of a page speak of into their folder, but for what they make themselves."""
    text = "\n".join(command.text for command in COMMANDS if command.page == page)
    made = re.findall(r"\bname=([\w-]+)", text)
    for name in ("mine", "my_run", "demo", "2026-11-23_demo"):
        if name not in made:
            shutil.copytree(recorded_run, folder / "runs" / name)
    for name in ("detector", "2026-11-27_train"):
        if name not in made:
            shutil.copytree(trained, folder / "runs" / name)
    for path in (trained / "weights").glob("best.*"):
        shutil.copy(path, folder / f"detector{path.suffix}")
    if "masks.safetensors" in text:
        save_weights(build("mask_rcnn"), folder / "masks.safetensors")
    drawn = generate_dataset(cache_dir / "drawn", num_images=16, num_val_images=8, seed=0)
    real = page == "tutorial.md" and BCCD.is_dir()
    for name, count in (("train", 16), ("val", 8)):
        source = BCCD / f"{name}2017" if real else drawn / name
        stem = f"instances_{name}2017" if real else f"instances_{name}"
        copy_some(source, source.parent / "annotations" / f"{stem}.json", folder / "my_data" / name, count)
    train = folder / "my_data" / "train"
    shutil.copy(next(train.iterdir()), folder / "photo.jpg")
    (folder / "DIR").symlink_to(drawn / "train")
    shutil.copy(drawn / "annotations" / "instances_train.json", folder / "FILE")


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in COMMANDS}))
def test_a_page_is_carried_out(
    page: str, folder: Path, recorded_run: Path, trained: Path, cache_dir: Path, capsys, monkeypatch
):
    monkeypatch.setenv("SPINESEARCH_CACHE", str(cache_dir))
    fill(folder, page, recorded_run, trained, cache_dir)
    for command in [command for command in COMMANDS if command.page == page]:
        if NOISE in command.words:
            continue
        if not is_composed_only(command) and command.words[1] not in (*NEEDS_TENSORFLOW, *TRIED_ELSEWHERE):
            words = tiny(given(command))
            assert main(words) == 0, f"{words}: {capsys.readouterr().err}"
    if page == "tutorial.md":
        import onnxruntime

        session = onnxruntime.InferenceSession("mine.onnx", providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].shape[1:] == [100, 6]
