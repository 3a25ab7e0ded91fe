import json
import subprocess
import sys
from dataclasses import asdict, fields
from importlib.resources import files
from typing import Any

import pytest
import yaml

from spinesearch.models.layers import ACTIVATIONS as MODEL_ACTIVATIONS
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.setting_rules import ACTIVATIONS


def preset(name: str) -> dict[str, Any]:
    text = (files("spinesearch.conf") / "proxy_task" / f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    return values


@pytest.mark.parametrize("name", ["small", "paper"])
def test_presets_hold_exactly_the_fields(name: str) -> None:
    values = preset(name)
    assert list(values) == [field.name for field in fields(ProxySettings)]
    settings = ProxySettings(**values)
    assert json.loads(json.dumps(asdict(settings))) == values


def test_the_paper_is_the_paper() -> None:
    paper = ProxySettings(**preset("paper"))
    assert (paper.image_size, paper.num_epochs, paper.filter_size_scale) == (512, 5, 0.25)
    assert (paper.resample_alpha, paper.endpoints_num_filters, paper.head_num_filters) == (0.25, 64, 64)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 100),
        ("image_size", 128.0),
        ("filter_size_scale", 0),
        ("stem_filters", 0),
        ("stem_filters", 8.0),
        ("endpoints_num_filters", True),
        ("activation", "gelu"),
        ("stochastic_depth_rate", 1.0),
        ("bn_momentum", 0.0),
        ("head_num_convs", -1),
        ("num_steps", 0),
        ("num_epochs", -1.0),
        ("batch_size", "16"),
        ("optimizer", "adam"),
        ("lr", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -0.1),
        ("clip_norm", float("inf")),
        ("decay_at", (0.9, 0.8)),
        ("decay_at", (1.0,)),
        ("flip", 1),
        ("scale_jitter", (2.0, 0.5)),
        ("scale_jitter", (0.0, 1.0)),
        ("scale_jitter", (1.0,)),
        ("measure_at", (20, 20)),
        ("measure_at", (0, 20)),
        ("measure_at", (0.5,)),
        ("measure_at", tuple(range(1, 52))),
        ("device", "cuda:1"),
        ("precision", "float16"),
        ("num_threads", 0),
    ],
)
def test_a_broken_rule_is_one_line_that_names_field_and_value(field: str, value: Any) -> None:
    arguments = {"num_steps": 10, field: value}
    with pytest.raises(ValueError, match=rf"^proxy_task\.{field}: must be .*, got ") as caught:
        ProxySettings(**arguments)
    assert "\n" not in str(caught.value)
    assert repr(value) in str(caught.value)


def test_steps_or_epochs() -> None:
    for both in ({}, {"num_steps": 1, "num_epochs": 1.0}):
        with pytest.raises(ValueError, match=r"^proxy_task\.num_steps: give either"):
            ProxySettings(**both)
    assert ProxySettings(num_steps=7).training_steps(1000) == 7
    assert ProxySettings(num_epochs=2.5, batch_size=16).training_steps(100) == 16  # 15.6
    assert ProxySettings(num_epochs=0.01, batch_size=16).training_steps(100) == 1


def test_the_step_schedule_needs_its_steps() -> None:
    with pytest.raises(ValueError, match=r"^proxy_task\.decay_at: "):
        ProxySettings(num_steps=1, schedule="step")


def test_what_is_measured_on_the_way_lies_in_the_training() -> None:
    assert ProxySettings(num_steps=10, measure_at=(5, 10)).measure_at == (5, 10)
    with pytest.raises(ValueError, match=r"^proxy_task\.measure_at: must not go beyond num_steps, which is"):
        ProxySettings(num_steps=10, measure_at=(5, 11))
    with pytest.raises(ValueError, match=r"^proxy_task\.measure_at: counts steps: give num_steps in place"):
        ProxySettings(num_epochs=1.0, measure_at=(5,))


def test_lists_become_tuples() -> None:
    settings = ProxySettings(num_steps=1, scale_jitter=[0.5, 2.0], decay_at=[0.5])  # type: ignore[arg-type]
    assert settings.scale_jitter == (0.5, 2.0)
    assert hash(settings) == hash(ProxySettings(num_steps=1, scale_jitter=(0.5, 2.0), decay_at=(0.5,)))


def test_activations_are_those_of_the_models() -> None:
    assert ACTIVATIONS == MODEL_ACTIVATIONS


def test_settings_and_result_do_not_import_torch() -> None:
    modules = "spinesearch.proxy_task.settings, spinesearch.proxy_task.result"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
