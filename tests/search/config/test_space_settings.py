"""The space group on the command line: every space searches, and a bad value is one line naming the field."""

from pathlib import Path

import pytest
from cli_checks import fails
from long_suite import few

from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.run_config import compose, run_config

NAMES = sorted(path.stem for path in (Path(__file__).parents[3] / "conf" / "space").glob("*.yaml"))
LEVELS = "levels are L1, L2, L3, L4, L5, L6, L7"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space=spnenet"], "space: must be one of fish, hourglass, .*spinenet_v2, got 'spnenet'"),
        (["space.name=fish"], "space.name: chooses no space; give space=fish"),
        (["space.depth=3"], "space.depth: there is no such setting"),
        (["space.window=2.5"], "space.window: must be a whole number, got '2.5'"),
        (["space.window=true"], "space.window: must be a whole number, got 'True'"),
        (["space.base_levels.L2=1.5"], "space.base_levels.L2: must be a whole number, got '1.5'"),
        (["space.base_levels.L2=true"], "space.base_levels.L2: must be a whole number, got 'True'"),
        (["space.base_levels.L2=null"], "space.base_levels.L2: must not be null"),
        (["space.base_levels.L2=-1"], "space.base_levels: the count at level 2 must not be negative, got -1"),
        (["space.base_levels.L6=1"], r"space.base_levels.L6: .* write \+space.base_levels.L6=1"),
        (["+space.base_levels.L8=1"], f"space.base_levels: {LEVELS}, got 'L8'"),
        (["space.base_levels=3"], "space.base_levels: must be a mapping in braces, got 3"),
        (["space.base_levels={L2: 0, L3: 0, L4: 0, L5: 0}"], "space.base_levels: must name 1 to 50 interm"),
        (["space.base_levels.L4=9999999"], "space.base_levels: must name 1 to 50 intermediate blocks in all"),
        (["~space.base_levels"], "space.base_levels: must be given"),
        (["space.stem=[L2]"], "space.stem: needs at least 2 blocks"),
        (["space.stem=[l2,L2]"], f"space.stem: {LEVELS}, got 'l2'"),
        (["space.stem=[2,2]"], f"space.stem: {LEVELS}, got '2'"),
        (["space.stem=[L2,L4]"], "space.stem: stem block 1: level must be 2 or 3 .*, got 4"),
        (["space.stem=null"], "space.stem: must not be null"),
        (
            ["space.stem_block_type=mbconv"],
            "space.block_types: mbconv blocks go with a stem of mbconv",
        ),
        (["space.stem_block_type=MBConv"], "space.stem_block_type: must be one of bottleneck, residual, mb"),
        (["space.block_types=[mbconv]"], r"space.block_types: mbconv .* got \[mbconv\] after a stem of"),
        (["space.block_types=[mbconv,residual]"], "space.block_types: mbconv does not mix with other types"),
        (
            ["space=spinenet_mbconv", "space.block_types=[residual]"],
            "space.block_types: mbconv blocks go",
        ),
        (["space.block_types=[basic]"], r"space.block_types: needs .*, got \[basic\]"),
        (["space.block_types=residual"], "space.block_types: must be a list in brackets, got 'residual'"),
        (["space.level_offsets=[]"], "space.level_offsets: needs one or more integers that all differ"),
        (["space.level_offsets=[0.5]"], r"space.level_offsets\[0\]: must be a whole number, got '0.5'"),
        (["space.fixed_order=hourglass"], "space.fixed_order: must be a list in brackets, got 'hourglass'"),
        (["space.fixed_order=[L2,L3]"], "space.fixed_order: needs the levels of 10 intermediate blocks and"),
        (["space=fish", "space.base_levels.L3=2"], "space.fixed_order: needs the levels of 9 intermediate"),
        (
            ["space=fish", "space.base_levels.L3=2", "space.base_levels.L4=6"],
            r"space.fixed_order: its first 10 levels must be those of base_levels, \{L2: 1, L3: 2, L4: 6",
        ),
    ],
)
def test_bad_space_settings(overrides, message, serial, tmp_path: Path, capsys):
    fails(["search", *serial, *overrides], message, capsys)
    assert not (tmp_path / "runs").exists()


def test_fields_can_be_changed_on_the_command_line():
    def space(*overrides: str):
        return run_config(compose(overrides)).space.build()

    assert space("space=r23_sp30", "space.window=null").window is None
    assert space("space.base_levels.L4=4", "+space.base_levels.L6=1").base_levels == {
        2: 1, 3: 3, 4: 4, 5: 1, 6: 1,
    }  # fmt: skip
    mobile = space("space.stem=[L1,L2]", "space.stem_block_type=mbconv", "space.block_types=[mbconv]")
    assert mobile.stem == space("space=spinenet_mbconv").stem
    searched = space("space=fish", "space.fixed_order=null")
    assert searched.decisions == space("space=r0_sp53").decisions


def test_the_help_lists_every_space(capsys):
    with pytest.raises(SystemExit):
        main(["search", "--help"])
    groups = capsys.readouterr().out.partition("space=")[2].partition("proxy_task=")[0]
    assert sorted(groups.replace("\n", "").replace(" ", "").split("|")) == NAMES


@pytest.mark.parametrize("name", few(NAMES, 2))
def test_a_search_of_every_space_prints_its_exact_size(name: str, serial, tmp_path: Path, capsys):
    assert main(["search", *serial, f"space={name}", "name=run", "search.num_trials=1"]) == 0
    space = run_config(compose([f"space={name}"])).space.build()
    assert f"1 candidates of {name} ({space.size:,} choices)" in capsys.readouterr().out
    run, _ = load_run(tmp_path / "runs" / "run")
    assert run.space == space
    trial = run.trials[0]
    assert trial.status == "completed"
    assert run.spec(trial).arch_id == trial.arch_id
