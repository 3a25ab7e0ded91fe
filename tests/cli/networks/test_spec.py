"""`spinesearch spec`: show, validate, diff, draw."""

import json
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.space import R0_SP53, SPINENET_49, backbone_cost, draw_spec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "found.json"
    provenance = {
        "run": "demo",
        "rank": 2,
        "reward": {"value": 0.25, "noise_sd": 0.01},
        "space": {"name": "spinenet"},
        "tokens": [1, 2],
    }
    data = {**R0_SP53.renamed("demo-02").to_dict(), "provenance": provenance}
    path.write_text(json.dumps(data))
    return path


def printed(arguments: list[str], capsys) -> str:
    assert main(["spec", *arguments]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    return captured.out


def test_show(file: Path, capsys):
    out = printed(["show", str(file), "SpineNet-49"], capsys)
    first, second = out.split("spinenet49 (")
    assert first.startswith(f"demo-02 ({R0_SP53.arch_id})")
    assert draw_spec(R0_SP53) in first
    assert "run         demo\nrank        2\nreward      value=0.25, noise_sd=0.01\n" in first
    assert "tokens" not in first
    assert draw_spec(SPINENET_49) in second
    assert "19.344M" in first
    assert "at 512" not in first


def test_validate_says_a_line_for_each(file: Path, tmp_path: Path, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text('{"schema_version": 3}')
    assert main(["spec", "validate", str(file), str(bad), "spinenet49", str(tmp_path / "absent.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{file}: valid: demo-02, {R0_SP53.arch_id}, 17 blocks",
        f"spinenet49: valid: spinenet49, {SPINENET_49.arch_id}, 17 blocks",
    ]
    newer, absent = captured.err.splitlines()
    assert newer.startswith(
        f"spinesearch: {bad}: schema_version: this release reads versions 1 to 2, got 3; a ne"
    )
    assert absent == f"spinesearch: {tmp_path / 'absent.json'}: cannot be read: No such file or directory"


def test_diff(file: Path, tmp_path: Path, capsys):
    out = printed(["diff", str(file), "--draw", str(tmp_path / "both.svg")], capsys)
    assert out.startswith("two different networks\n")
    assert "12 of 17 places have different blocks" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "3 L3 bottleneck (0, 1) L4 residual (0, 1)" in lines
    assert "residual 0 4" in lines
    assert "parameters 19.344M 21.831M" in lines
    svg = (tmp_path / "both.svg").read_text()
    assert "demo-02" in svg
    assert "spinenet49" in svg
    same = printed(["diff", str(file), "r0_sp53"], capsys)
    assert same.startswith("the same network\n")
    assert "0 of 17 places" in same


def test_diff_names_fusions_and_counts_with_them(file: Path, tmp_path: Path, capsys):
    data = json.loads(file.read_text())
    data["provenance"]["proxy_task"] = {"fusion": "attention"}
    fused = tmp_path / "fused.json"
    fused.write_text(json.dumps(data))
    out = printed(["diff", str(fused), str(file)], capsys)
    assert out.startswith("the same blocks, joined by fusion attention and sum\n")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "fusion attention sum" in lines
    cost = backbone_cost(R0_SP53, 640, fusion="attention")
    assert f"parameters {cost.parameters / 1e6:.3f}M 19.344M" in lines
    assert printed(["diff", str(fused), str(fused)], capsys).startswith("the same network\n")


def test_draw(file: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert printed(["draw", str(file)], capsys) == "drew demo-02.svg\n"
    assert (tmp_path / "demo-02.svg").read_text().startswith("<svg")
    printed(["draw", "spinenet49", "resnet50_fpn", "-o", "pictures"], capsys)
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["resnet50_fpn.svg", "spinenet49.svg"]
    printed(["draw", "spinenet49", "-o", "new/one.svg", "--theme", "dark"], capsys)
    assert "prefers-color-scheme" not in (tmp_path / "new" / "one.svg").read_text()


def test_bad_input(file: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(
        ["spec", "paint"],
        "spec paint: there is no such command; give one of spec show, spec validate",
        capsys,
    )
    fails(["spec", "show", "spinenet48"], "did you mean spinenet49", capsys)
    fails(
        ["spec", "draw", "spinenet49", "r0_sp53", "-o", "x.svg"],
        "--output: must be a folder for 2 specs",
        capsys,
    )
    fails(["spec", "draw", str(file), str(file)], "two specs are called so", capsys)
    fails(["spec", "diff", "resnet50_fpn"], "resnet50_fpn: is a ResNet, which has no block spec", capsys)
    fails(
        ["spec", "diff", "r0_sp53", "--draw", "x.png"],
        "--draw: the name of a picture must end in .svg, got x.png",
        capsys,
    )
    for name in ("x.png", "x.SVG", "x.pdf"):
        words = ["spec", "draw", "spinenet49", "-o", name]
        fails(words, f"--output: pictures are SVG; .* got {name}", capsys)
    fails(["spec", "show", str(tmp_path)], "is a folder; give a spec file, as `spinesearch export", capsys)
    (tmp_path / "taken").write_text("mine")
    fails(["spec", "draw", "spinenet49", "-o", "taken/x.svg"], "--output: ", capsys)
    fails(["spec", "diff", "r0_sp53", "--draw", "taken/x.svg"], "--draw: ", capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found.json", "taken"]


def test_words_alone_print_the_usage(capsys):
    assert main(["spec", "--help"]) == 0
    assert "show | validate | diff | draw" in capsys.readouterr().out
    assert main(["spec"]) == 2


def test_ablate(file: Path, tmp_path: Path, capsys):
    short = tmp_path / "short.json"
    out = printed(["ablate", "r0_sp53", "--remove", "short", "-o", str(short)], capsys)
    assert out.startswith(f"wrote {short}: r0_sp53-without-short, ")
    assert "demo-02-sequential" in printed(
        ["ablate", str(file), "--keep", "sequential", "-o", str(tmp_path / "s.json")], capsys
    )
    assert main(["spec", "validate", str(short)]) == 0
    fails(["spec", "ablate", "resnet50_fpn", "--remove", "long"], "is a ResNet, which has no block", capsys)
    fails(["spec", "ablate", "r0_sp53", "--remove", "long", "-o", "x.svg"], "must end in .json", capsys)
    with pytest.raises(SystemExit) as caught:
        main(["spec", "ablate", "r0_sp53"])
    assert caught.value.code == 2
    assert "one of the arguments --remove --keep is required" in capsys.readouterr().err
