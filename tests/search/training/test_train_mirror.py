"""A training whose machine is gone is resumed from its mirror, and ends as if nothing had been."""

import shutil
from contextlib import nullcontext

from cli_checks import fails
from safetensors.torch import load_file
from tiny_training import assert_equal_states
from trained_run import NUM_STEPS, command

from spinesearch.cli.main import main
from spinesearch.cli.networks import train
from spinesearch.results.ledger.run import load_run


def test_a_training_goes_on_from_its_mirror_elsewhere(trained, tmp_path, cache_dir, monkeypatch, capsys):
    mirror = f"mirror=file://{tmp_path / 'mirror'}"
    card = tmp_path / "runs" / "run" / "weights" / "README.md"
    with monkeypatch.context() as patch:  # a signal that comes in the step after the first measurement
        patch.setattr(train, "_stop_on_signals", lambda: nullcontext(card.exists))
        assert main(command(tmp_path, cache_dir, mirror)) == 130
    assert sorted(path.name for path in (tmp_path / "mirror" / "run").iterdir()) == [
        "checkpoints",
        "ledger",
        "weights",
    ]
    shutil.rmtree(tmp_path / "runs")
    elsewhere = tmp_path / "elsewhere"
    capsys.readouterr()
    assert main(["resume", f"file://{tmp_path / 'mirror'}/run", f"runs_dir={elsewhere}"]) == 0
    assert "goes on after step 3 of 4" in capsys.readouterr().out
    name = "weights/last.safetensors"
    assert_equal_states(load_file(elsewhere / "run" / name), load_file(trained / name))
    run, _ = load_run(elsewhere / "run")
    assert [event["step"] for event in run.measurements] == [2, NUM_STEPS]
    # Complete, and once more on a third machine: the mirror holds all of it.
    assert main(["resume", f"file://{tmp_path / 'mirror'}/run", f"runs_dir={tmp_path / 'third'}"]) == 0
    assert "complete, all 4 steps are taken" in capsys.readouterr().out
    assert_equal_states(load_file(tmp_path / "third" / "run" / name), load_file(trained / name))
    fails([*command(tmp_path, cache_dir), "name=null", mirror], r"mirror: needs a name", capsys)
