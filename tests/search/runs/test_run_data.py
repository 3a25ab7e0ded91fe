"""What a search says while its data are packed."""

import io
import re

from rich.console import Console

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.engine import open_run_data


def on_drawn_data(tiny, cache_dir):
    of_data = [text for text in tiny if text.startswith(("data.", "proxy_task="))]
    return [*of_data, f"data.cache_dir={cache_dir}"]


def opened(command, *, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=200)
    data = open_run_data(run_config(compose(command)), console)
    return data, console.file.getvalue()


def test_packing_shows_a_bar_the_rate_and_the_size(tiny, tmp_path):
    command = on_drawn_data(tiny, tmp_path)
    data, out = opened(command, is_terminal=True)
    assert re.search(r"packing images .*16/16.* [0-9]+ images/s", out)
    assert re.search(r"packing 16 images at 128 x 128 pixels: 0\.8 MB of raw pixels into .* are free", out)
    assert re.search(r"packed 16 images in 0 s \([0-9]+ images/s\): 0\.[89] MB in ", out)
    again, out = opened(command, is_terminal=True)
    assert again.key == data.key
    assert "packing" not in out
    assert "packed" not in out


def test_without_a_terminal_there_are_plain_lines(tiny, tmp_path):
    command = on_drawn_data(tiny, tmp_path)
    _, out = opened(command, is_terminal=False)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        "drawing images",
        "packing 16 images at 128 x 128 pixels",
        "packing images",
    ]
    assert lines[3].startswith("packed 16 images in ")
    assert len(lines) == 4
    assert "\x1b" not in out


def test_a_warm_up_longer_than_the_training_is_reported(tiny, tmp_path):
    command = on_drawn_data(tiny, tmp_path)
    _, out = opened([*command, "proxy_task.num_steps=5", "proxy_task.warmup_steps=4"], is_terminal=False)
    assert "warning" not in out
    _, out = opened([*command, "proxy_task.num_steps=5", "proxy_task.warmup_steps=5"], is_terminal=False)
    assert "warning: proxy_task.warmup_steps: 5 of a training of 5 steps, whose learning rate" in out
