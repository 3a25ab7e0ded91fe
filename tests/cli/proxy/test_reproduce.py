"""``spinesearch reproduce``: every stage for real at its least, and what it refuses."""

import json
from pathlib import Path

import pytest
from cli_checks import fails
from written_runs import BEGUN, result, write_search, write_training

from spinesearch.cli.main import main
from spinesearch.cli.networks.evaluate import Evaluated
from spinesearch.cli.proxy.reproduce import _of_a_day, _own
from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import FINALISTS
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.config.sections import TRAINING
from spinesearch.search.estimate.estimate import Estimate, Part
from spinesearch.search.reproduce.sources import source_of
from spinesearch.search.reproduce.stages import (
    SEARCHES,
    TRAININGS,
    Reproduction,
    search_words,
    training_words,
)
from spinesearch.search.reproduce.table import Row, as_markdown, search_differences, training_differences
from spinesearch.search.training.train_config import train_config

COCO = ["data.train_images=/images", "data.train_annotations=/annotations.json"]
# Where the reader's files lie is no difference from the paper.
PATHS = [f"data.{use}_{kind}=/{use}" for use in ("val", "score") for kind in ("images", "annotations")]
PATHS += ["data.cache_dir=/cache"]


def begun(config: dict[str, object], num_train: int, num_held_out: int) -> Run:
    data = {"num_train_images": num_train, "num_held_out_images": num_held_out}
    return Run(sessions=[{"config": config, "data": data}])


def test_every_search_is_composed_as_published():
    candidates = {name: search.candidates for name, search in SEARCHES.items()}
    assert candidates == {
        "paper_search": 14_000,
        "r0_sp53": 13_000,
        "r14_sp39": 13_000,
        "r23_sp30": 10_000,
        "r35_sp18": 6_000,
        "cloud": 1_000,
        "one_gpu_day": None,
    }
    for name, published in SEARCHES.items():
        config = run_config(compose([*search_words(name, "coco"), *COCO, *PATHS]))
        assert published.candidates in (None, config.search.num_trials)
        known = [
            "the controller's settings, which are not published",
            "what is not published, as conf/proxy_task/paper.yaml marks it",
        ]
        differs = search_differences(name, begun(config.to_dict(), 110_895, 7_392))
        assert list(differs) == (known if published.candidates else [])
    proxy = run_config(compose([*search_words("cloud", "coco"), *COCO])).proxy_task
    assert (proxy.filter_size_scale, proxy.num_epochs, proxy.batch_size, proxy.lr) == (0.5, 10, 64, 0.08)
    tiny = run_config(compose(search_words("paper_search", "tiny")))
    differs = search_differences("paper_search", begun(tiny.to_dict(), 17, 7))
    assert "search.num_trials 6 in place of 14000" in differs
    assert "data.name generated in place of coco" in differs
    assert "7 held-out images, published 7,392" in differs


def test_differences_of_trainings_are_named_once_and_numbered():
    coco = train_config(compose([*training_words("coco"), *COCO, *PATHS], TRAINING)).to_dict()
    own = "what is not published, as conf/train/protocol_b.yaml marks it"
    assert training_differences(begun(coco, 118_287, 0), 5_000) == (own,)
    tiny = train_config(compose(training_words("tiny"), TRAINING)).to_dict()
    differs = training_differences(begun(tiny, 24, 0), 8)
    assert "train.num_epochs 2.0 in place of 350" in differs
    assert "24 training images, COCO 2017 has 118,287" in differs
    assert "8 validation images, COCO 2017 has 5,000" in differs
    rows = [Row("a", "1", "2", ("x", "y")), Row("b", "3", "-", ("y",)), Row("c", "4", "4", ())]
    rows.append(Row("d", "5", "6", ("x", "v", "w", "z")))
    assert as_markdown(rows).splitlines()[2:] == [
        "| a | 1 | 2 | [1] [2] |",
        "| b | 3 | - | [2] |",
        "| c | 4 | 4 | in nothing known |",
        "| d | 5 | 6 | [1] [3]-[5] |",
        "",
        "[1] x  ",
        "[2] y  ",
        "[3] v  ",
        "[4] w  ",
        "[5] z  ",
    ]


def test_bad_words_leave_nothing(tmp_path: Path, capsys):
    folder = tmp_path / "new"
    place = ["--folder", str(folder)]
    fails(
        ["reproduce", "serch", *place], "reproduce serch: there is no such stage; give one of verify", capsys
    )
    fails(["reproduce", "search", "r1", *place], "reproduce search: r1: must be one of paper_search", capsys)
    fails(["reproduce", "train", "r0_sp53", *place], "must be one of best, spinenet49, resnet50_fpn", capsys)
    fails(["reproduce", "table", "x", *place], "reproduce table: x: is one word too many", capsys)
    fails(["reproduce", "verify", "seed=1", *place], "seed=1: reproduce verify takes no settings", capsys)
    fails(["reproduce", "--scale", "huge", *place], "--scale: must be one of coco, tiny, got huge", capsys)
    fails(["reproduce", "search", *place], "data.train_images: must be given", capsys)
    missing = f"nothing has been trained in {folder}; `spinesearch reproduce train --folder"
    fails(["reproduce", "table", *place], f"reproduce table: {missing}", capsys)
    fails(["reproduce", "evaluate", *place], f"reproduce evaluate: {missing}", capsys)
    fails(
        ["reproduce", "train", *place, *COCO],
        "paper_search is missing, whose best is wanted; `spinesearch reproduce search paper_search",
        capsys,
    )
    # Without a stage all settings are checked before the first.
    fails(["reproduce", *place, "serch.num_trials=8"], "serch.num_trials: there is no such setting", capsys)
    fails(["reproduce", *place, *COCO, "train.lr=fast"], "train.lr: must be a number, got 'fast'", capsys)
    fails(["reproduce", *place, *COCO], "data.val_annotations: must be given", capsys)
    fails(["reproduce", *place, "--search", "r1"], "--search: must be one of paper_search", capsys)
    assert not folder.exists()
    (tmp_path / "note.txt").write_text("mine")
    fails(["reproduce", "verify", "--folder", str(tmp_path)], "is there and is no reproduction", capsys)
    folder.mkdir()
    (folder / "reproduction.json").write_text('{"scale": "tiny"}')
    fails(
        ["reproduce", "verify", *place], "holds a reproduction at scale tiny, got coco; give --scale", capsys
    )


def test_without_a_stage_each_takes_of_the_settings_what_is_its_own():
    words = ["data=coco", "data.cache_dir=/c", "++data.skip_broken=true", "train.lr=0.1", "space=r0_sp53"]
    assert _own("search", words) == [*words[:3], "space=r0_sp53"]
    assert _own("train", words) == words[:4]
    assert _own("evaluate", words) == ["data.cache_dir=/c"]  # of a recorded training


def test_a_day_of_one_gpu_is_filled_by_what_is_measured(tmp_path: Path, monkeypatch):
    parts = (
        Part(name="candidates", count=16, seconds=90.0, at_once=32),
        Part(name="finalists and baselines", count=20, seconds=180.0, at_once=20),
    )
    measured: list[int] = []

    def planned(config, console, stated):
        measured.append(config.search.num_trials)
        return Estimate(what="", parts=parts, pace=""), [1]

    monkeypatch.setattr("spinesearch.search.estimate.planned.planned_search", planned)
    words = [*search_words("one_gpu_day", "coco"), *COCO, "name=one_gpu_day", f"runs_dir={tmp_path}"]
    config = _of_a_day(run_config(compose(words)))
    # 23 hours beside an hour of finalists hold 57 generations of 16 in 0.4 hours.
    assert (measured, config.search.num_trials) == ([16], 57 * 16)
    parts = (parts[0], Part(name="finalists", count=20, seconds=5000.0, at_once=20))
    with pytest.raises(ValueError, match=r"a generation of 16 takes 0.4 hours here, and the finalists 27.8"):
        _of_a_day(run_config(compose(words)))


def test_the_best_is_taken_once_its_finalists_are_ranked_and_then_stays(tmp_path: Path):
    """What an interrupted ranking has on record is no best yet, and a training that has begun goes on."""
    reproduction = Reproduction(tmp_path, "tiny")
    words = ["search.finalists=1", "search.num_trials=4"]
    run_dir = write_search(reproduction.searches / "cloud", [0.1, 0.4, 0.2, 0.3], *words)
    best = load_run(run_dir)[0].trials[1]
    chosen = {"event": "rerank", "rerank": 0, "setting": 0, "trials": [1], "baselines": {}, "seeds": [5]}
    again = {"event": "propose", "side": FINALISTS, "trial": 0, "setting": 0, "seed": 5, "baseline": ""}
    for event in (
        {**chosen, "proxy_task": {}, "time": BEGUN},
        {**again, "tokens": list(best.tokens), "arch_id": best.arch_id},
        {**result(0, 0.5), "side": FINALISTS},
    ):
        with pytest.raises(ValueError, match=r"cloud is not over, its finalists are not ranked yet; `spine"):
            source_of(reproduction, "best", None)
        with Ledger(run_dir) as ledger:
            ledger.append([event])
    source = source_of(reproduction, "best", None)
    assert source is not None
    assert (source.origin["run"], source.origin["trial"]) == ("cloud", 1)
    write_training(reproduction.trainings / "best", source.origin)
    assert source_of(reproduction, "best", None) is None
    assert source_of(reproduction, "best", "cloud") is None
    with pytest.raises(ValueError, match=r"--search: .*best trains the best of cloud, got r0_sp53; leave"):
        source_of(reproduction, "best", "r0_sp53")


def test_an_evaluation_is_complete_for_its_weights_and_data_alone(tmp_path: Path, monkeypatch, capsys):
    """Given again with other data or after other weights it is made anew, and says of what it is."""
    measured: list[int] = []

    def evaluated(detector, inference, settings, console):
        measured.append(settings.num_val_images)
        plain = {"AP": 0.5, "num_images": settings.num_val_images}
        return Evaluated(data=None, found=None, scores=None, plain=plain)  # type: ignore[arg-type]

    monkeypatch.setattr("spinesearch.cli.networks.evaluate.evaluate_on", evaluated)
    monkeypatch.setattr("spinesearch.cli.networks.weights.open_weights", lambda *arguments: (None, None))
    reproduction = Reproduction(tmp_path, "coco")
    reproduction.begin()
    weights = write_training(reproduction.trainings / "spinenet49") / "weights" / "best.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"first")
    command = ["reproduce", "evaluate", "--folder", str(tmp_path)]
    for words, is_complete in ((["data.num_val_images=7"], False), ([], False), ([], True)):
        assert main([*command, *words]) == 0
        assert ("spinenet49.json: complete" in capsys.readouterr().out) == is_complete
    assert main([*command, f"data.cache_dir={tmp_path}"]) == 0  # the same images wherever they are packed
    weights.write_bytes(b"second")
    assert main(command) == 0
    assert measured == [7, 100, 100]
    assert capsys.readouterr().out.count("next:") == 2
    monkeypatch.setenv("RANK", "1")  # as torchrun does; the first process alone says what to do now
    assert main(command) == 0
    assert "next:" not in capsys.readouterr().out
    assert json.loads(reproduction.evaluation("spinenet49").read_text())["data"]["num_val_images"] == 100


@pytest.mark.slow
@pytest.mark.ray
def test_every_stage_for_real(tmp_path: Path, cache_dir: Path, capsys):
    folder = tmp_path / "tiny"
    words = ["--scale", "tiny", "--folder", str(folder), f"data.cache_dir={cache_dir}"]
    assert main(["reproduce", *words]) == 0
    out = capsys.readouterr().out
    checks = json.loads((folder / "verify.json").read_text())["checks"]
    assert all(check["is_right"] for check in checks)
    assert f"all {len(checks)} checks agree with what is published" in out
    run, _ = load_run(folder / "searches" / "paper_search")
    assert run.num_done == 6
    assert len(run.finalists) == 3
    table = (folder / "table.md").read_text()
    assert "| search `paper_search`: candidates | 6 | 14,000 |" in table
    for name in TRAININGS:
        training, _ = load_run(folder / "trainings" / name)
        evaluated = json.loads((folder / "evaluations" / f"{name}.json").read_text())
        # The evaluation of the best weights is that which the training had measured.
        best = max(event["scores"]["AP"] or 0.0 for event in training.measurements)
        assert evaluated["AP"] == pytest.approx(best, abs=1e-9)
    for row, paper in (("best of `paper_search`", "42.8"), ("spinenet49", "42.8"), ("resnet50_fpn", "40.4")):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {row}: AP |")]
        assert line.split("|")[3].strip() == paper
        assert "[" in line.split("|")[4]
    # Given again, every stage finds itself complete; the table alone is written anew.
    (folder / "table.md").unlink()
    assert main(["reproduce", *words]) == 0
    out = capsys.readouterr().out
    assert out.count(": complete") == 1 + 2 * len(TRAININGS)
    assert (folder / "table.md").read_text() == table
