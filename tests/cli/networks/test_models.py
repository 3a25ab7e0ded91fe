"""`spinesearch models`: what it prints, what it refuses, and that it starts without torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.space import PUBLISHED, R0_SP53, SPINENET_49, SPINENET_MOBILE_49, draw_spec


def printed(arguments: list[str], capsys) -> str:
    assert main(["models", *arguments]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    return captured.out


def row(out: str, first: str) -> str:
    """The first table's line that begins so, blanks squeezed."""
    line, *_ = [line for line in out.splitlines() if re.match(rf"{re.escape(first)} +[\d.]", line)]
    return " ".join(line.split())


def test_the_table_has_every_model(capsys):
    out = printed([], capsys)
    assert [line.split()[0] for line in out.splitlines()[2 : 2 + len(PUBLISHED)]] == list(PUBLISHED)
    # model, input, parameters, multiply-adds, AP by protocol A, B, C, mobile
    assert row(out, "spinenet49") == "spinenet49 640 28.54M 85.28B 40.8 42.8 44.3 -"
    assert row(out, "spinenet49s") == "spinenet49s 640 11.94M 33.75B - 39.5-39.9 41.5 -"
    assert row(out, "spinenet190") == "spinenet190 1280 163.6M 1882B - - 52.0-52.1 -"
    assert row(out, "spinenet_mobile49") == "spinenet_mobile49 384 2.34M 0.98B - - - 28.6"
    assert row(out, "resnet50_fpn") == "resnet50_fpn 640 34.09M 96.88B 37.8 40.4 - -"
    # Mask R-CNN: box and mask AP, the paper's and the released code's
    masks = out[out.index("Mask R-CNN on") :]
    assert row(masks, "spinenet49") == "spinenet49 640 40.75M 215.4B 42.9, 38.1 42.8, 37.8"
    assert row(masks, "spinenet190") == "spinenet190 1536 168.2M 1683B 52.5, - 52.0, 45.9"
    for protocol in ("A", "B", "C", "mobile"):
        assert re.search(rf"^  {protocol} +\d+ epochs, ", out, re.MULTILINE)


def test_input_size_and_classes_change_the_table(capsys):
    small = row(printed(["--input-size", "128", "--num-classes", "20"], capsys), "spinenet49").split()
    # 71 classes fewer: 9 anchors x 71 x (9 x 256 weights + 1 bias) parameters.
    assert small[1:3] == ["128", f"{(28543383 - 9 * 71 * (9 * 256 + 1)) / 1e6:.2f}M"]
    assert float(small[3].removesuffix("B")) < 85.28 / 25


def test_one_model(capsys):
    out = printed(["SpineNet-49S"], capsys)
    assert out.startswith(f"spinenet49s ({SPINENET_49.arch_id}), images of 640 x 640\n")
    assert "filter_size_scale=0.65, resample_alpha=0.5, endpoints_num_filters=256, block_repeats=1" in out
    assert "head_num_convs=4, head_num_filters=128, head_is_separable=False" in out
    assert row(out, "backbone") == "backbone 9.473M 12.778B 12.812B"
    assert row(out, "detector, 91 classes") == "detector, 91 classes 11.945M 33.745B 33.790B"
    assert row(out, "published, 91 classes at 640") == "published, 91 classes at 640 11.9M 33.8B"
    assert "AP at 640   B: 39.5-39.9, C: 41.5\n" in out
    assert row(out, "91 classes at 640") == "91 classes at 640 13.947M 59.703B 59.804B"
    assert row(out, "paper's, at 640") == "paper's, at 640 13.9M 60.2B 39.3, 34.8"
    heads = "head_num_convs=4, head_num_filters=128, head_num_hidden=512"
    assert (
        " ".join(out.split()).count(f"heads endpoints_num_filters=128, {heads}, base_anchor=3.0 source") == 1
    )
    assert "source      paper, sections 3.4 and 4.1" in out
    assert draw_spec(SPINENET_49) in out


def test_one_model_at_another_size(capsys):
    out = printed(["spinenet49", "--input-size", "896", "--num-classes", "20"], capsys)
    assert "images of 896 x 896" in out
    assert row(out, "backbone") == "backbone 21.831M 55.394B 55.484B"
    assert row(out, "detector, 20 classes")
    assert row(out, "published, 91 classes at 640").endswith(" 28.5M 85.4B")
    assert "C @896: 46.7" in out


def test_options_that_a_network_does_not_have_are_left_out(capsys):
    out = printed(["spinenet mobile 49s"], capsys)
    assert "filter_size_scale=0.65, endpoints_num_filters=40, block_repeats=1" in out
    assert "AP at 384   mobile: 23.5" in out
    assert "published, " not in out
    assert draw_spec(SPINENET_MOBILE_49) in out
    out = printed(["resnet101-fpn"], capsys)
    assert "backbone    endpoints_num_filters=256\n" in out
    assert "bottlenecks    3    4   23    3\n" in out


@pytest.mark.parametrize(("spec", "side"), [(R0_SP53, 640), (SPINENET_MOBILE_49, 128)])
def test_a_spec_file_costs_what_the_model_built_from_it_does(spec, side: int, tmp_path: Path, capsys):
    import torch

    from spinesearch.models.cost import count_multiply_adds, count_parameters
    from spinesearch.models.heads.detector import build_detector

    path = tmp_path / "found.json"
    path.write_text(spec.to_json())
    out = printed([str(path), "--input-size", str(side), "--num-classes", "7"], capsys)
    assert out.startswith(f"{spec.name} ({spec.arch_id}), images of {side} x {side}\n")
    assert draw_spec(spec) in out
    with torch.device("meta"):
        detector = build_detector(path, num_classes=7)
    parameters = f"{count_parameters(detector) / 1e6:.3f}M"
    multiply_adds = f"{count_multiply_adds(detector, side) / 1e9:.3f}B"
    assert f" {parameters} {multiply_adds} " in row(out, "detector, 7 classes")
    assert "source" not in out


def test_a_spec_file_without_a_name_goes_by_its_files(tmp_path: Path, capsys):
    path = tmp_path / "found.json"
    path.write_text(SPINENET_49.renamed("").to_json())
    assert printed([str(path)], capsys).startswith("found (")


def test_it_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    for arguments in ([], ["spinenet49s"], ["spinenet143"], ["spinenet_mobile49"], ["resnet152_fpn"]):
        out = printed(arguments, capsys)
        assert "…" not in out
        assert max(map(len, out.splitlines())) <= 80


def test_bad_input(tmp_path: Path, capsys):
    fails(["models", "spinenet50"], "nothing published is called 'spinenet50'; did you mean spinenet", capsys)
    fails(["models", "zzz"], "nothing published is called 'zzz'; there are r0_sp53, ", capsys)
    fails(["models", "spinenet49", "--input-size", "31"], "input_size: .* at least 32 .* got 31", capsys)
    fails(
        ["models", "--num-classes", "0"], "num_classes: must be a whole number of at least 1, got 0", capsys
    )
    fails(["models", str(tmp_path / "none.json")], "none.json: cannot be read: No such file", capsys)
    (tmp_path / "broken.json").write_text("{")
    fails(["models", str(tmp_path / "broken.json")], "broken.json: not JSON", capsys)
    for arguments in (["models", "a", "b"], ["models", "--cfg"], ["models", "--input-size", "big"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "see spinesearch models --help" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["models", "--help"])
    assert stopped.value.code == 0
    assert "spinesearch models SpineNet-49S --input-size 512" in capsys.readouterr().out
    main(["--help"])
    assert "  models  " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["models"], ["models", "spinenet190"]])
def test_no_torch_is_loaded(arguments: list[str]):
    script = (
        "import sys; from spinesearch.cli.main import main; "
        f"code = main({arguments}); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "hydra", "numpy"} & set(result.stderr.split())
