"""Recorded candidates: runs become shards that never change, and load; what does not belong is refused."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from landscape_runs import FOLDER, NOVEMBER, ROOT, SPACE, record
from long_suite import few

from spinesearch.results.ledger.ledger import Ledger


def test_shards_follow_a_run_and_never_change(bench, tmp_path: Path):
    collect, load = bench("collect").collect, bench("recorded").load
    run, folder = tmp_path / "first", tmp_path / "records"
    record(run, done=13, wanted=25)
    added = collect([run], folder, shard_size=5)
    assert [path.name for path in added] == ["first-00000.jsonl.gz", "first-00005.jsonl.gz"]
    before = {path: path.read_bytes() for path in added}
    assert collect([run], folder, shard_size=5) == []
    record(run, done=25, wanted=25)
    assert [path.name for path in collect([run], folder, shard_size=10)] == [
        "first-00010.jsonl.gz",
        "first-00020.jsonl.gz",  # the rest of a complete run
    ]
    assert {path: path.read_bytes() for path in added} == before
    # Again from nothing: equal bytes, whenever that is done.
    again = collect([run], tmp_path / "again", shard_size=5)
    assert [path.read_bytes() for path in again[:2]] == list(before.values())

    found = load(folder)
    assert len(found.trainings) == 25
    assert found.space == SPACE
    assert found.trainings[3].status == "failed"
    assert found.trainings[3].reason == "it diverged"
    scores = found.scores()
    assert scores.values.shape == (24, 1)
    assert scores.tokens[:3] == tuple(t.tokens for t in found.trainings[:3])
    assert [SPACE.decode(tokens).arch_id for tokens in scores.tokens] == list(scores.arch_ids)
    assert scores.values[0, 0] == found.trainings[0].metrics["ap"]


def test_the_pages_three_lines_load_it(bench, tmp_path: Path):
    record(tmp_path / "run", done=6, wanted=6)
    bench("collect").collect([tmp_path / "run"], tmp_path / "benchmarks/landscape/records")
    page = (ROOT / "docs" / "landscape.md").read_text()
    code = re.search(r"```python\n(import gzip.*?)```", page, re.DOTALL)
    assert code is not None
    assert len(code[1].split("\n\n")[-1].splitlines()) + 1 == 3
    script = code[1] + "print(len(trainings), trainings[0]['seed'], len(trainings[0]['tokens']))"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("6 0 70\n", "")


def test_lengths_and_seeds_stand_side_by_side(bench, tmp_path: Path):
    runs = [
        record(tmp_path / "one", done=6, wanted=6),
        record(tmp_path / "two", done=6, wanted=6, seed=1),
        record(tmp_path / "long", done=4, wanted=4, num_steps=9),
    ]
    bench("collect").collect(runs, tmp_path / "records")
    found = bench("recorded").load(tmp_path / "records")
    assert found.num_steps == 2
    assert found.scores().values.shape == (5, 2)
    assert found.scores(num_steps=9).values.shape == (3, 1)
    assert np.isfinite(found.scores().values).all()


def test_rungs_are_trainings_of_their_length_and_finalists_have_shards_of_their_own(bench, tmp_path: Path):
    run = record(tmp_path / "one", done=0, wanted=3, proposals=3)
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    network = {key: lines[1][key] for key in ("tokens", "arch_id")}

    def ended(event: str, trial: int, num_steps: int, seconds: float, **more: object) -> dict[str, object]:
        metrics = {"metrics": {"ap": 0.1 * num_steps, "num_steps": num_steps}}
        place = {"rung": 0, "num_steps": num_steps} if event == "rung" else {}
        return {"event": event, "trial": trial, "time": 2e9, "seconds": seconds, **place, **metrics, **more}

    def rerank(number: int, **changes: object) -> dict[str, object]:
        choice = {"trials": [0], "baselines": {"resnet50_fpn": "resnet"}, "seeds": [1]}
        place = {"event": "rerank", "rerank": number, "setting": number, "time": 2e9}
        return {**place, **choice, "proxy_task": {"num_steps": 4, **changes}}

    def finalist(trial: int, setting: int, **of: object) -> list[dict[str, object]]:
        place = {"side": "finalists", "trial": trial}
        begin = {"event": "propose", **place, "setting": setting, "seed": 1, **of}
        return [begin, ended("result", num_steps=4, seconds=8.0, status="completed", reward=0.4, **place)]

    whole = {"status": "completed", "reward": 0.2}
    with Ledger(run) as ledger:
        ledger.append(
            [
                *(ended("rung", trial, 1, 3.0) for trial in (0, 1)),
                ended("rung", 2, 1, 0.0, duplicate_of=1),
                ended("result", 0, 2, 7.0, **whole),
                ended("result", 1, 1, 3.0, **whole, is_stopped=True),
                ended(
                    "result", 2, 1, 0.0, **whole | {"status": "duplicate"}, duplicate_of=1, is_stopped=True
                ),
                rerank(0),
                *finalist(0, 0, **network),
                *finalist(1, 0, tokens=[], arch_id="resnet", baseline="resnet50_fpn"),
                rerank(1, lr=0.3),
                *finalist(2, 1, **network),
            ]
        )
    paths = bench("collect").collect([run], tmp_path / "records")
    assert [path.name for path in paths] == ["one-00000.jsonl.gz", "one-finalists-0-00000.jsonl.gz"]
    found = bench("recorded").load(tmp_path / "records").trainings
    assert [(t.run, t.trial, t.seed, t.num_steps, t.seconds) for t in found] == [
        ("one", 0, 0, 1, 3.0),
        ("one", 0, 0, 2, 4.0),  # after the rung
        ("one", 1, 0, 1, 3.0),
        ("one-finalists-0", 0, 1, 4, 8.0),
    ]
    assert bench("collect").collect([run], tmp_path / "records") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.2}, "other: proxy_task.lr is 0.2 there and 0.15 in the landscape; record it in a folder"),
        ({"clip_norm": 1.0}, "other: proxy_task.clip_norm is 1.0 there and 10.0 in the landscape"),
    ],
)
def test_another_setting_is_refused_and_nothing_is_written(bench, tmp_path: Path, changes, message):
    collect, error = bench("collect").collect, bench("recorded").LandscapeError
    one, other = record(tmp_path / "one", done=3, wanted=3), tmp_path / "other"
    record(other, done=3, wanted=3, **changes)
    with pytest.raises(error, match=re.escape(message)):
        collect([one, other], tmp_path / "records")
    assert not (tmp_path / "records").exists()


def rewritten(ledger: Path, old: str, new: str) -> None:
    """The ledger with its events changed, as another release or machine would have written it."""
    events = [json.loads(line.replace(old, new)) for line in ledger.read_text().splitlines()]
    ledger.unlink()
    with Ledger(ledger.parent) as file:
        file.append([{k: v for k, v in event.items() if k not in ("seq", "crc32")} for event in events])


def test_other_code_is_refused_unless_vouched_for(bench, tmp_path: Path):
    collect, error = bench("collect").collect, bench("recorded").LandscapeError
    one, other = (record(tmp_path / name, done=3, wanted=3) for name in ("one", "other"))
    rewritten(other / "ledger.jsonl", "0123456789ab", "ba9876543210")
    collect([one], tmp_path / "records")
    with pytest.raises(error, match=r"scoring_sources is \['ba9876543210'\] there and \['0123456789ab'\] in"):
        collect([other], tmp_path / "records")
    (path,) = collect([other], tmp_path / "records", same_code=["ba9876543210"])
    head = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    assert head["code"] == ["ba9876543210"]  # the truth stays on record
    assert len(bench("recorded").load(tmp_path / "records").trainings) == 3  # one network, seed: once


def test_results_of_another_run_are_that_runs_to_give(bench, tmp_path: Path):
    run = record(tmp_path / "one", done=3, wanted=3)
    rewritten(run / "ledger.jsonl", '"trial":1,"seconds":9.5', '"trial":1,"seconds":9.5,"reused_from":"two"')
    bench("collect").collect([run], tmp_path / "records")
    found = bench("recorded").load(tmp_path / "records")
    assert [training.trial for training in found.trainings] == [0, 2]


def test_another_run_of_the_same_name_is_refused(bench, tmp_path: Path):
    collect, error = bench("collect").collect, bench("recorded").LandscapeError
    collect([record(tmp_path / "one", done=3, wanted=3)], tmp_path / "records")
    other = record(tmp_path / "elsewhere" / "one", done=3, wanted=3)
    rewritten(other / "ledger.jsonl", '"time":1795780999', '"time":1795780998')
    with pytest.raises(error, match="another run called one is in the landscape; rename this one's folder"):
        collect([other], tmp_path / "records")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"schema_version":1', b'"schema_version":2', "spinesearch-landscape of version 2, this code reads"),
        (b'"format":"spinesearch-landscape"', b'"format":"other"', "is other of version 1, this code reads"),
        (None, b"not gzip", "is damaged: "),
        (None, gzip.compress(b"[1, 2]\n", mtime=0), "is damaged: "),
    ],
    ids=["version", "format", "no gzip", "no head"],
)
def test_a_file_of_another_version_or_a_damaged_one(bench, tmp_path: Path, old, new, message):
    record(tmp_path / "run", done=3, wanted=3)
    (path,) = bench("collect").collect([tmp_path / "run"], tmp_path)
    path.write_bytes(
        new if old is None else gzip.compress(gzip.decompress(path.read_bytes()).replace(old, new))
    )
    with pytest.raises(bench("recorded").LandscapeError, match=message) as raised:
        bench("recorded").load(tmp_path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", few([["page.py"], ["collect.py", str(NOVEMBER.parent)]], 1), ids=str)
def test_a_command_says_it_in_one_line(bench, tmp_path: Path, command: list[str]):
    (tmp_path / "x.jsonl.gz").write_bytes(
        gzip.compress(b'{"format":"spinesearch-landscape","schema_version":2}')
    )
    arguments = [sys.executable, FOLDER / command[0], *command[1:], "--folder", tmp_path]
    run = subprocess.run(arguments, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(
        f"{tmp_path / 'x.jsonl.gz'}: is spinesearch-landscape of version 2, this code"
    )
    assert run.stderr.count("\n") == 1


def test_a_closed_shard_is_not_written_again(bench, tmp_path: Path):
    recorded = bench("recorded")
    (path,) = bench("collect").collect([record(tmp_path / "run", done=3, wanted=3)], tmp_path)
    with pytest.raises(recorded.LandscapeError, match="is there already, and a closed shard does not change"):
        recorded.write_shard(path, {}, [])


@pytest.mark.slow
def test_the_page_states_noise_and_fit(bench, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(bench("surrogate"), "NUM_TREES", 20)
    runs = [
        record(tmp_path / "one", done=60, wanted=60),
        record(tmp_path / "two", done=30, wanted=30, seed=1),
    ]
    bench("collect").collect(runs, tmp_path / "records")
    found = bench("recorded").load(tmp_path / "records")
    surrogate, page = bench("surrogate"), bench("page")
    noise = surrogate.seed_noise(found.scores().values)
    assert noise.num_archs == 29
    assert 0.003 < noise.sd < 0.007  # .005 with 29 degrees of freedom: 99.9 % lie within
    x, y = surrogate.figures_and_scores(found)
    fit = surrogate.cross_validated(x, y)
    # The reward is a sum of figures that trees see one by one; the noise alone allows about .8.
    assert fit.tau.value > 0.4
    assert fit.r2 > 0.3
    shuffled = surrogate.cross_validated(x, np.random.default_rng(0).permutation(y))
    assert abs(shuffled.tau.value) < 0.35
    assert shuffled.r2 < 0.2
    text = page.figures(found)
    assert "88 trainings of 59 networks, and 2 that failed, in 2 shards, on a machine." in text
    assert f"standard deviation of {noise.sd:.4f}" in text

    path = tmp_path / "page.md"
    path.write_text("# A page\n<!-- landscape: begin (by hand) -->\nold\n<!-- landscape: end -->\nlast\n")
    bench("marked").replace_marked(path, "landscape", text)
    assert path.read_text() == (
        f"# A page\n<!-- landscape: begin (by hand) -->\n{text}\n<!-- landscape: end -->\nlast\n"
    )
    with pytest.raises(ValueError, match=r"page\.md: needs one line '<!-- other: begin"):
        bench("marked").replace_marked(path, "other", text)


def test_analytic_landscapes_are_standardised_and_read_the_figures_they_name(bench, monkeypatch):
    analytic = bench("analytic")
    monkeypatch.setattr(analytic, "NUM_SAMPLES", 1000)
    rewards = analytic.AnalyticLandscapes(SPACE)
    rng = np.random.default_rng(9)
    x = np.array([SPACE.features(SPACE.sample(rng)) for _ in range(400)])
    for values in rewards(x).values():
        # Of 400 samples: a mean within .05 and a deviation within .04, so four of those and more.
        assert abs(values.mean()) < 0.2
        assert abs(values.std() - 1) < 0.2
    one = x[:1].copy()
    one[0, analytic._COLUMN["L2 to L7"]] += 1
    changed = {name for name, value in rewards(one).items() if value[0] != rewards(x[:1])[name][0]}
    assert changed == {"cross-scale links", "mixture of four"}
    assert list(rewards(one)) == list(analytic.AnalyticLandscapes.names)
