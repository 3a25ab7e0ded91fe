"""Options that are settings, the help, and the command line as a module."""

import subprocess
import sys

import pytest

from spinesearch.cli.main import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["search", "--num-trials", "5"],
            "--num-trials: settings are given without dashes: search.num_trials=5;",
        ),
        (["resume", "x", "--num_trials=5"], "settings are given without dashes: search.num_trials=5;"),
        (["search", "--seed", "3"], "without dashes: seed=3;"),
        (["search", "--cache-dir", "/x"], "without dashes: data.cache_dir=/x;"),
        (["search", "--search.lag", "2"], "without dashes: search.lag=2;"),
        (["bench", "proxy", "--controller", "random"], "without dashes: controller=random;"),
        (["search", "--lag", "--cfg"], "without dashes: search.lag=VALUE;"),
        (["proxy", "variance", "--num-trails", "4"], "did you mean the setting search.num_trials=4?;"),
        (["search", "-m", "seed=1,2"], "-m: a command runs one search; give a command per search"),
        (["search", "--multirun"], "--multirun: a command runs one search"),
        (["cluster", "check", "--config-name=foo"], "--config-name: hydra's own options are not supported"),
        (["search", "--frobnicate"], "--frobnicate: there is no such option;"),
        (["show", "x", "--num-trials", "5"], "unrecognized arguments: --num-trials 5;"),
    ],
)
def test_unknown_options(words: list[str], message: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("spinesearch: ")
    assert message in err
    assert err.count("\n") == 1
    assert "--help" in err


def test_what_resume_needs(capsys):
    with pytest.raises(SystemExit):
        main(["resume"])
    assert "required: RUN;" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["resume", "--help"])
    assert "RUN [key=value ...]" in capsys.readouterr().out


def test_the_help_says_what_costs_time_and_what_exit_codes_mean(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for code in ("0  ", "1  ", "2  ", "3  ", "4  ", "130"):
        assert f"\n  {code}" in out
    with pytest.raises(SystemExit):
        main(["cluster", "check", "--help"])
    assert "one worker trains SpineNet-49 there" in capsys.readouterr().out


def test_the_module_is_the_command_and_no_variable_makes_an_error_longer():
    command = ["env", "HYDRA_FULL_ERROR=1", "OMP_NUM_THREADS=abc", sys.executable, "-m", "spinesearch"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("spinesearch ")
    result = subprocess.run([*command, "search", "seed=${oc.env:NO_SUCH}"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("spinesearch: seed: cannot be resolved: ")
    assert result.stderr.count("\n") == 1, result.stderr
