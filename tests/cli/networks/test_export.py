"""`spinesearch export`: what it exports, in which form, and what it refuses."""

import ast
import json
import resource
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from cli_checks import fails
from exported_networks import build
from tiny_models import TINY, tiny_detector

from spinesearch.cli.main import main
from spinesearch.cli.networks.export_source import build as build_source
from spinesearch.cli.networks.export_source import find_source
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.inference import Inference
from spinesearch.models.weights.files import save_weights
from spinesearch.results.export.plain_twin import outputs_of
from spinesearch.results.ledger.run import load_run, ranked_trials
from spinesearch.search.training.model_source import file_source
from spinesearch.space import R0_SP53, backbone_cost, load_spec
from spinesearch.space.arch.spec_file import load_spec_file

FIXTURE = Path(__file__).parents[2] / "fixtures" / "november_2026" / "runs"


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("search", "variance"):
        shutil.copytree(FIXTURE / name, tmp_path / "runs" / name)
    return tmp_path


def exported(arguments: list[str], capsys) -> str:
    """What an export says it has written, without what can be done next."""
    assert main(["export", *arguments]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    return captured.out.partition("next:\n")[0]


def test_what_can_be_done_next_is_said(here: Path, capsys):
    assert main(["export", "search", "--top", "1"]) == 0
    written, _, following = capsys.readouterr().out.partition("next:\n")
    path = written.removeprefix("exported ").strip()
    assert f"  spinesearch train {path} data=coco ...  # a detector on it" in following.splitlines()


def test_next_is_what_a_network_was_trained_as(here: Path, capsys):
    save_weights(build("classifier"), "classifier.safetensors")
    save_weights(build("mask_rcnn attention"), "masks.safetensors")
    for name, following in (
        ("classifier", "train.task=classification data=classes ...  # a classifier on it"),
        ("masks", "train.fusion=attention train.detector=mask_rcnn data=coco ...  # a Mask R-CNN on it"),
    ):
        assert main(["export", f"{name}.safetensors", "-o", "spec.json"]) == 0
        assert f"  spinesearch train spec.json {following}" in capsys.readouterr().out.splitlines()
    fails(
        ["export", "masks.safetensors", "--format", "tf"],
        "--format tf: the authors' builders add two parents, and masks has fusion=attention",
        capsys,
    )
    assert not Path("masks_blocks.py").exists()


def test_a_spec_of_a_search_with_fusion_keeps_it(here: Path, capsys):
    found = {**TINY.to_dict(), "provenance": {"proxy_task": {"fusion": "weighted"}}}
    Path("found.json").write_text(json.dumps(found))
    assert file_source(Path("found.json")).arguments["fusion"] == "weighted"
    exported(["found.json", "-o", "again.json"], capsys)
    source = find_source("again.json")
    assert source.settings == {"kind": "detector", "fusion": "weighted"}
    network = build_source(source, num_classes=None, backbone_only=False)
    assert network.arguments["fusion"] == "weighted"
    assert main(["spec", "show", "again.json"]) == 0
    shown = capsys.readouterr().out
    cost = backbone_cost(TINY, 640, fusion="weighted")
    assert f"{cost.parameters / 1e6:.3f}" in shown, shown
    found["provenance"]["proxy_task"]["fusion"] = "product"
    Path("found.json").write_text(json.dumps(found))
    fails(
        ["export", "found.json", "--format", "python"],
        "fusion: must be one of sum, weighted, attention, got 'product'",
        capsys,
    )


def test_a_run_without_a_format_is_exported_as_before(here: Path, capsys):
    out = exported(["search", "--top", "2"], capsys)
    paths = [Path(line.removeprefix("exported ")) for line in out.splitlines()]
    assert [path.parent for path in paths] == [Path("runs/search/export")] * 2
    run, _ = load_run(Path("runs/search"))
    best = ranked_trials(run.trials)[0]
    spec, provenance = load_spec_file(paths[0])
    assert spec == run.spec(best)
    assert provenance["reward"] == {"value": best.reward}


def test_one_candidate_of_a_run(here: Path, capsys):
    assert exported(["search", "--format", "tf", "--rank", "2"], capsys) == "exported search-02_blocks.py\n"
    run, _ = load_run(Path("runs/search"))
    rows = ast.literal_eval(Path("search-02_blocks.py").read_text().partition(" = ")[2])
    assert rows == run.spec(ranked_trials(run.trials)[1]).to_tuples()


def test_published_names_and_spec_files_as_json(here: Path, capsys):
    assert exported(["R0-SP53"], capsys) == "exported r0_sp53.json\n"
    assert load_spec("r0_sp53.json") == R0_SP53
    data = {**R0_SP53.to_dict(), "schema_version": 1, "reward": 0.5}
    Path("old.json").write_text(json.dumps(data))
    exported(["old.json", "-o", "new/now.json"], capsys)
    now = json.loads(Path("new/now.json").read_text())
    assert now["schema_version"] == 2
    assert now["provenance"] == {"reward": {"value": 0.5}}


@torch.no_grad()
def test_weights_as_a_python_file(here: Path, capsys):
    detector = tiny_detector(num_anchors=9).eval()
    save_weights(detector, "best.safetensors")
    out = exported(["best.safetensors", "--format", "python", "-o", "net.py"], capsys)
    assert out == "exported net.py and net.pt: best, a detector\n"
    network = runpy.run_path("net.py")["load"]("net.pt")
    images = torch.rand(1, 3, 64, 64)
    for got, want in zip(network(images), detector(images), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.abs().max()))
    out = exported(["best.safetensors", "--format", "python", "--backbone-only"], capsys)
    assert out == "exported best.py and best.pt: best, a backbone\n"
    assert list(runpy.run_path("best.py")["load"]("best.pt")(images)) == [3, 4, 5, 6, 7]


@torch.no_grad()
@pytest.mark.parametrize(("form", "ending"), [("python", "py"), ("torch", "pt2")])
def test_a_full_disk_is_said_in_a_line(form: str, ending: str, here: Path, capsys):
    save_weights(tiny_detector(), "detector.safetensors")
    target = Path("out") / f"net.{ending}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        words = ["export", "detector.safetensors", "--format", form, "-o", str(target)]
        fails(words, r"--output out/net\.\w+: File too large", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(target.parent.iterdir()) == []


@torch.no_grad()
def test_a_mask_rcnn_as_a_python_file(here: Path, capsys):
    detector = build("mask_rcnn")
    save_weights(detector, "masks.safetensors")
    out = exported(["masks.safetensors", "--format", "python"], capsys)
    assert out == "exported masks.py and masks.pt: masks, a Mask R-CNN\n"
    network = runpy.run_path("masks.py")["load"]("masks.pt")
    images = torch.rand(1, 3, 64, 64)
    for got, want in zip(outputs_of(network, images), outputs_of(detector, images), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.abs().max()))
    assert [part.shape[1:] for part in network.detect(images)] == [(100, 6), (100, 28, 28)]


@torch.no_grad()
def test_trained_weights_say_size_anchors_and_classes(here: Path, capsys):
    detector = tiny_detector(num_anchors=6, num_classes=2).eval()
    detector.inference = Inference(
        image_size=96, num_scales=2, base_anchor=1.5, class_names=("cell", 'a "b"')
    )
    save_weights(detector, "best.safetensors")
    source = find_source("best.safetensors")
    assert source.input_size == 96
    exported(["best.safetensors", "--format", "python"], capsys)
    net = runpy.run_path("best.py")
    assert net["CLASS_NAMES"] == ("cell", 'a "b"')
    anchors = net["load"]("best.pt").anchors(torch.rand(1, 3, 96, 96))
    assert torch.equal(anchors, make_anchors(96, num_scales=2, base_anchor=1.5))
    exported(["best.safetensors", "--format", "python", "--base-anchor", "4"], capsys)
    assert runpy.run_path("best.py")["NETWORK"]["base_anchor"] == 4.0


def test_a_network_without_weights_says_so(here: Path, capsys):
    out = exported(["spinenet_mobile49xs", "--format", "python", "--num-classes", "2"], capsys)
    assert out.startswith("note: there are no trained weights of it, so it gets initial ones\n")
    assert out.endswith("spinenet_mobile49xs, a detector\n")


@pytest.mark.slow
@torch.no_grad()
def test_torch_and_onnx_files(here: Path, capsys):
    detector = tiny_detector(num_anchors=9).eval()
    detector.inference = Inference(image_size=96, class_names=("a", "b", "c"))
    save_weights(detector, "best.safetensors")
    out = exported(["best.safetensors", "--format", "torch", "--input-size", "64x96"], capsys)
    assert out == "exported best.pt2: best, a detector for any number of images of 64 x 96\n"
    images = torch.rand(3, 3, 64, 96)
    program = torch.export.load("best.pt2").module()
    for got, want in zip(program(images), detector(images), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()))
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[dev]'")
    for options, names in (
        ([], ["detections"]),
        (["--raw"], ["cls_logits", "box_deltas"]),
        (["--backbone-only"], ["p3", "p4", "p5", "p6", "p7"]),
    ):
        exported(["best.safetensors", "--format", "onnx", "--input-size", "64", *options], capsys)
        session = onnxruntime.InferenceSession("best.onnx", providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == names
        metadata = session.get_modelmeta().custom_metadata_map
        is_backbone = names[0] == "p3"
        assert is_backbone or json.loads(metadata["class_names"]) == ["a", "b", "c"]
        assert session.run(None, {"images": torch.rand(2, 3, 64, 64).numpy()})[0].shape[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spinenet49", "--top", "3"], "--top: is for --format json, of a run, and this is json"),
        (["search", "--format", "tf", "--top", "3"], "--top: is for --format json, of a run, and this is tf"),
        (
            ["search", "--num-classes", "3"],
            "--num-classes: is for --format python or torch or onnx, and this is j",
        ),
        (["search", "--format", "torch", "--raw"], "--raw: is for --format onnx, and this is torch"),
        (
            ["search", "--format", "tf", "--rank", "9"],
            "--rank: must be in 1..5, the candidates that completed, got 9",
        ),
        (["spinenet49", "--format", "torch", "--rank", "2"], "--rank: is for a search, and spinenet49 is no"),
        (["variance", "--format", "tf"], "is a study, which exports no architectures"),
        (["search", "--noise", "search"], "--noise: search is no variance study"),
        (["search", "--noise", "nothing"], "nothing: is not a run"),
        (["spinenet49", "--cfg"], "--cfg: prints a run's configuration, and spinenet49 is not a run"),
        (["spinenet48"], "spinenet48: is not a run"),
        (["absent.json"], "absent.json: cannot be read: No such file"),
        (["absent.safetensors", "--format", "torch"], "absent.safetensors: there is no such file"),
        (["resnet50_fpn"], "--format json: resnet50_fpn is a ResNet, which has no block spec"),
        (["r23_sp30", "--format", "tf"], "--format tf: the authors' builders have a stem of bottlenecks"),
        (
            ["spinenet49", "--format", "python", "-o", "x.onnx"],
            "--output: must end in .py for --format python, got",
        ),
        (["spinenet49", "--format", "torch", "--input-size", "big"], "--input-size: must be one side or HxW"),
        (
            ["spinenet49", "--format", "torch", "--input-size", "16"],
            "input_size: needs one side or .* at least 32",
        ),
        (["spinenet49", "--format", "python", "--base-anchor", "0"], "--base-anchor: must be positive"),
        (
            ["spinenet49", "--format", "python", "--backbone-only", "--num-classes", "2"],
            "--backbone-only: a backbone alone has no classes",
        ),
    ],
)
def test_bad_input(arguments: list[str], message: str, here: Path, capsys):
    before = sorted(here.rglob("*"))
    fails(["export", *arguments], message, capsys)
    assert sorted(here.rglob("*")) == before


def test_bad_input_with_weights(here: Path, capsys, monkeypatch):
    save_weights(tiny_detector(), "w.safetensors")
    fails(
        ["export", "w.safetensors", "--format", "python", "--num-classes", "2"],
        "--num-classes: the weights",
        capsys,
    )
    Path("w.json").unlink()
    fails(
        ["export", "w.safetensors", "--format", "python"],
        "there is no w.json, which belongs beside it",
        capsys,
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fails(
        ["export", "spinenet49", "--format", "onnx"],
        r"onnx and onnxscript missing; .*'spinesearch\[onnx\]'",
        capsys,
    )
    Path("taken").write_text("mine")
    fails(["export", "spinenet49", "-o", "taken/x.json"], "--output: ", capsys)
