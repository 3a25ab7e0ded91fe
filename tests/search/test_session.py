"""What a session records of itself."""

from types import SimpleNamespace

import torch

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.environment import machine
from spinesearch.search.session import run_event

DATA = SimpleNamespace(key="k", train_index=(1, 2), held_out_index=(3,), class_names=("a",), num_classes=1)


def test_the_run_event_of_a_search_names_machine_and_versions():
    event = run_event(run_config(compose([])), DATA)
    assert event["machine"] == machine()
    assert event["torch"] == torch.__version__
    assert event["data"] == {
        "key": "k",
        "num_train_images": 2,
        "num_held_out_images": 1,
        "class_names": ["a"],
    }
