"""What is typed behind ``=``: text as it stands, all else by hydra's grammar, one line where it is wrong."""

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.config.run_config import (
    ConfigError,
    RunConfig,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)
from spinesearch.search.config.sections import PATH_SETTINGS, is_text, setting_types

COCO = ["data=coco", "data.train_images=/i", "data.train_annotations=/a.json"]


def typed(*words: str) -> RunConfig:
    return run_config(compose(words))


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return typed().to_dict()


@pytest.fixture(scope="module")
def recorded_coco() -> dict[str, Any]:
    return typed(*COCO).to_dict()


def test_which_settings_are_text():
    texts = {key for key in setting_types() if is_text(key)}
    assert {"name", "label", "runs_dir", "mirror", "search.ray_address", "search.engine"} <= texts
    assert set(PATH_SETTINGS) <= texts
    assert not {"seed", "search.num_trials", "space.stem", "search.resources_per_trial"} & texts
    # Every setting of the yaml is known with its type.
    for words in ([], [*COCO, "controller=random"]):
        for section, node in compose(words).items():
            names = [f"{section}.{name}" for name in node] if isinstance(node, dict) else [section]
            assert set(names) <= set(setting_types())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("name=1.10", "1.10"),
        ("name=12e4567", "12e4567"),
        ("name=007", "007"),
        ("name=true", "true"),
        ("name=a=b, (c) [d] {e} #f & 'g' \"h\"", "a=b, (c) [d] {e} #f & 'g' \"h\""),
        ("name=Bilder-für", "Bilder-für"),
        ("name=图片", "图片"),
        ("name=${now:%Y}", "${now:%Y}"),
        (r"name=\${x}\\${", r"\${x}\\${"),
        ("name= a  b ", " a  b "),
        ("name=*", "*"),
        ("name='1.10'", "1.10"),
        ('name="a b"', "a b"),
        ("name=''a''", "'a'"),
        ("name='", "'"),
        ("name='null'", "null"),
        ("name=null", None),
        ("name=~", "~"),
        ("++name=x", "x"),
    ],
)
def test_text_is_what_stands_behind_the_first_equals_sign(word: str, name: str | None):
    (override,) = parse_overrides([word])
    assert override.text() == name


def test_text_reaches_the_configuration():
    words = ["name=a=b, (c) [d] #e", "label=1.10", r"mirror=s3://${x}/\${", "search.ray_address='1e5'"]
    config = typed(*words)
    assert (config.name, config.label, config.mirror) == ("a=b, (c) [d] #e", "1.10", r"s3://${x}/\${")
    assert config.search.ray_address == "1e5"


def test_any_text_survives_the_ledger_and_a_resume(recorded_coco):
    rng = random.Random(0)
    letters = r"""\${}'"~#&,=()[]:.?*!@%+|; äß图a1-"""
    for _ in range(8):
        text = "".join(rng.choices(letters, k=rng.randint(1, 90)))
        if text == "???" or text[0] in "'\"~":
            continue
        config = run_config(
            {**recorded_coco, "label": text, "data": {**recorded_coco["data"], "cache_dir": f"/{text}"}}
        )
        (override,) = parse_overrides([f"label={text}"])
        assert override.text() == text == config.label
        ledger = json.loads(json.dumps(config.to_dict()))
        resumed = with_overrides(ledger, ["search.num_trials=100"])
        assert resumed.label == text
        assert resumed.data == config.data
        check_resumable(run_config(ledger), resumed)


def test_search_and_resume_read_alike(tmp_path: Path, recorded_coco):
    words = [
        "search.num_trials=100",
        "search.ray_address='10.0.0.1:6379'",
        f"data.train_images={tmp_path}/a=b, [c]",
        "data.cache_dir=1.10",
        "search.resources_per_trial={a100: 1}",
        "search.trial_timeout_s=1e3",
        "mirror=s3://bucket/${x}",
    ]
    resumed = with_overrides(recorded_coco, words)
    assert resumed == typed(*COCO, *words)
    assert resumed.data.train_images == f"{tmp_path}/a=b, [c]"
    assert Path(resumed.data.cache_dir) == Path.cwd() / "1.10"
    assert resumed.search.resources_per_trial == {"a100": 1}


def test_mappings_grow_on_resume_as_in_a_search():
    recorded = typed("search.resources_per_trial={a: 1}").to_dict()
    words = ["search.resources_per_trial={b: 2}", "search.resources_per_trial.c=3"]
    assert with_overrides(recorded, words).search.resources_per_trial == {"a": 1, "b": 2, "c": 3}
    assert recorded["search"]["resources_per_trial"] == {"a": 1}


def test_a_leading_tilde_is_the_home_folder_of_paths_alone(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = typed("data=coco", "data.train_images=~/für/", "data.train_annotations=~/a.json", "runs_dir=~")
    assert config.data.train_images == str(tmp_path / "für")
    assert config.data.train_annotations == str(tmp_path / "a.json")
    assert config.runs_dir == str(tmp_path)
    moved = with_overrides(config.to_dict(), ["data.cache_dir='~/cache'"])
    assert moved.data.cache_dir == str(tmp_path / "cache")
    assert typed("name=~a", "label=~/b").label == "~/b"
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where no user is known
    with pytest.raises(ConfigError, match=r"data.cache_dir: no home folder is known for the ~ in ~/c; give"):
        typed("data.cache_dir=~/c")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "data.train_images=file:///data/a%20b",
            "data.train_images: must be a path, got the URL file:///data/a%20b; give /data/a b",
        ),
        ("data.train_images=file://localhost/data", "give /data"),
        ("data.train_annotations=s3://b/a.json", "must be a path on this machine, got the URL s3://b/a.json"),
        ("runs_dir=gs://b/runs", "runs_dir: .* URL gs://b/runs; give a local folder, and mirror=gs://b/runs"),
        ("data.cache_dir=https://x/y", "data.cache_dir: .*download or mount it and give the path"),
    ],
)
def test_a_url_for_a_path_is_said_to_be_one(word: str, message: str, recorded_coco):
    (override,) = parse_overrides([word])
    with pytest.raises(ConfigError, match=message):
        override.text()
    if override.key == "runs_dir":
        message = "a run stays where it is"
    with pytest.raises(ConfigError, match=message):
        with_overrides(recorded_coco, [word])


WRONG_ANYWHERE = [
    ("hydra.run.dir=x", "hydra.run.dir: hydra's own settings have no effect here; runs_dir and name"),
    ("hydra/launcher=joblib", "hydra/launcher: hydra's own settings have no effect"),
    ("seed=1,2", "seed: takes one value, got 1,2; give a command per value"),
    ("seed=range(1,3)", "seed: takes one value, got range"),
    ("proxy_task.decay_at=[1,2", r"proxy_task.decay_at: must be .*and cannot be read; got '\[1,2'"),
    ("search.num_trials=a(b", "search.num_trials: must be a number, .* got 'a"),
    ("search.num_trials=", "search.num_trials: must be a whole number, got ''"),
    ("search.num_trials=???", "search.num_trials: must be given, got ???"),
    ("search.engine=1", "search.engine: must be one of ray, serial, got '1'"),
    ("search.engine=null", "search.engine: must not be null"),
    ("num_trials=3", "num_trials: there is no such setting; did you mean search.num_trials"),
    ("search.num-trials=3", "did you mean search.num_trials"),
    ("controler=random", "controler: there is no such setting; did you mean controller=random?"),
    ("controler=nonsense", "did you mean controller=bayesian|evolution|local_search|ppo|random|reinforce?"),
    ("dat=coco", "did you mean data=coco?"),
    ("data.name=coco", "data.name: chooses no data; give data=coco"),
    ("search.num_trials", "settings are given as key=value without spaces .* search.num_trials=VALUE"),
    ("spam", "spam: settings are given as key=value"),
]


@pytest.mark.parametrize(("word", "message"), WRONG_ANYWHERE)
def test_what_is_wrong_is_one_line_on_search_and_resume(word: str, message: str, recorded):
    message = message.replace("?", r"\?").replace("|", r"\|")
    with pytest.raises(ConfigError, match=message) as error:
        typed(word)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=message):
        with_overrides(recorded, [word])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.num_trials", "=", "4"], "without spaces around the =, as in search.num_trials=4"),
        (["search.num_trials", "=4", "seed=1"], "as in search.num_trials=4"),
        (["+name=x"], r"\+name=x: there is such a setting already; give name=x without \+"),
        (["+data=coco"], r"a data is chosen without \+: data=coco"),
        (["data=coco,generated"], "data: must be one of classes, coco, generated, got 'coco,generated'"),
        (["data.train_images=/x"], "data.train_images: not a setting of the data chosen"),
    ],
)
def test_what_is_wrong_in_a_search(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        typed(*words)


def test_both_sides_of_a_study_take_text():
    from spinesearch.search.study.study_config import compose_study

    words = ["name=1.10", "b.data.cache_dir='/a, [b'", "a.proxy_task.optimizer=sgd"]
    study = compose_study("correlate", words, num_archs=3, num_seeds=1)
    assert [config.name for config in study.configs.values()] == ["1.10", "1.10"]
    assert study.configs["b"].data.cache_dir == "/a, [b"
    assert study.configs["a"].proxy_task.optimizer == "sgd"


def test_every_field_of_a_run_is_a_setting():
    assert {field.name for field in fields(RunConfig)} <= {key.partition(".")[0] for key in setting_types()}
