"""Whether data are those that a run was begun on: what is drawn is, though processors round differently."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console
from trained_run import command

from spinesearch.cli.main import main
from spinesearch.data.data_settings import CocoDataSettings, GeneratedDataSettings
from spinesearch.data.open import ProxyData
from spinesearch.data.reopen import reopen_data
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.run_config import ConfigError, compose
from spinesearch.search.config.sections import TRAINING
from spinesearch.search.same_data import as_recorded
from spinesearch.search.training.train_config import train_config
from spinesearch.search.training.train_data import open_shared_data

DRAWN = GeneratedDataSettings(num_images=16, object_sizes="wide")
NOTICE = "data: the run was begun with images that another kind of processor drew"


def as_drawn_elsewhere(cache_dir: Path) -> None:
    """Give a drawn image other pixels and another length, as another processor does; its pack is gone."""
    (path,) = cache_dir.glob("**/shapes-*/train/000001.jpg")
    length = path.stat().st_size
    image = Image.open(path).convert("RGB")
    for x in range(8):
        image.putpixel((x, 0), (255, 0, 0))
    image.save(path, quality=92, subsampling=0)
    assert path.stat().st_size != length
    shutil.rmtree(cache_dir / "packs")


def test_a_search_goes_on_where_another_processor_drew_its_images(serial, tmp_path: Path, capsys):
    run_dir, cache = tmp_path / "runs" / "run", tmp_path / "cache"
    assert main(["search", *serial, "name=run", f"data.cache_dir={cache}", "search.num_trials=2"]) == 0
    assert NOTICE not in capsys.readouterr().out
    as_drawn_elsewhere(cache)
    assert main(["resume", str(run_dir), "search.num_trials=4"]) == 0
    assert capsys.readouterr().out.count(NOTICE) == 1
    run, _ = load_run(run_dir)
    assert run.num_done == 4
    first, second = (session["data"] for session in run.sessions)
    assert first == second
    assert first["generator"] == 2


def test_a_training_goes_on_there_too(tmp_path: Path, capsys):
    cache = tmp_path / "cache"
    words = command(tmp_path, cache)
    assert main([*words, "--dry-run"]) == 0
    config = train_config(compose(words[2:], TRAINING))
    group = SimpleNamespace(is_first=True, from_first=lambda value: value, gathered=lambda key: [key])
    before = open_shared_data(config, Console(quiet=True), group)
    as_drawn_elsewhere(cache)
    capsys.readouterr()
    now = open_shared_data(config, Console(quiet=True), group)
    assert now.key != before.key
    begun, told = {"config": config.to_dict(), "data": {"key": before.key}}, []
    data = as_recorded(begun, now, config.data, told.append)
    assert data.key == data.scored.key == before.key
    assert [line.startswith(NOTICE) for line in told] == [True]
    # Of several processes on several machines all have the first one's key.
    group.gathered = lambda key: [before.key, key]
    assert open_shared_data(config, Console(quiet=True), group).key == before.key


def test_a_worker_takes_what_its_own_processor_draws(tmp_path: Path):
    settings = replace(DRAWN, cache_dir=str(tmp_path))
    data = reopen_data(settings, image_size=128, key="of another")
    assert data.key == "of another"
    assert len(data.dataset.images) == 16


@pytest.mark.parametrize(
    ("then", "recorded"),
    [
        ({"seed": 1}, {}),
        ({"object_sizes": "narrow"}, {}),
        ({"held_out_share": 0.3}, {}),
        ({"storage": "jpeg"}, {}),
        ({}, {"generator": 3}),
        ({"name": "coco"}, {}),
    ],
)
def test_what_is_drawn_otherwise_is_refused(then: dict[str, object], recorded: dict[str, object]):
    settings = {name: getattr(DRAWN, name) for name in GeneratedDataSettings.__dataclass_fields__}
    begun = {"config": {"data": {**settings, **then}}, "data": {"key": "k", **recorded}}
    message = r"data: this run was begun on other images .* \(key k, now here\); give it the same data"
    with pytest.raises(ConfigError, match=message):
        as_recorded(begun, data_under("here"), DRAWN, pytest.fail)


def test_read_data_are_the_same_by_their_key_alone():
    settings = CocoDataSettings(train_images="a", train_annotations="b.json")
    begun = {"config": {"data": {"name": "coco"}}, "data": {"key": "k"}}
    assert as_recorded(begun, data_under("k"), settings, pytest.fail).key == "k"
    with pytest.raises(ConfigError, match="begun on other images"):
        as_recorded(begun, data_under("here"), settings, pytest.fail)


def data_under(key: str) -> ProxyData:
    """Data of which nothing but the key is asked."""
    return SimpleNamespace(key=key)  # type: ignore[return-value]
