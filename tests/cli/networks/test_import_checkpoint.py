"""``import-checkpoint`` from the command line to the weight file; what TensorFlow's reader says is made up.

tests/models/weights/test_tf_checkpoint.py reads real checkpoints where TensorFlow is installed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_checks import fails
from tiny_models import HEAD, NARROW, TINY
from torch import nn

from spinesearch.cli.main import main
from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.weights import tf_checkpoint
from spinesearch.models.weights.files import load_backbone, load_detector
from spinesearch.models.weights.tf_checkpoint import checkpoint_of
from spinesearch.models.weights.tf_names import VALUE_SUFFIX
from spinesearch.models.weights.tf_weights import tf_variables

RECORDS = Path(__file__).parents[2] / "models" / "weights" / "model_garden"
SCALING = [f"--{name.replace('_', '-')}={value}" for name, value in NARROW.items()]
HEADS = [f"--{name.replace('_', '-')}={value}" for name, value in HEAD.items() if name != "num_classes"]


def arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for name, variable in tf_variables(module).items()
    }


@pytest.fixture
def tiny_spec(tmp_path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(TINY.renamed("tiny").to_json())
    return str(path)


@pytest.fixture
def stored(monkeypatch):
    """Sets what `open_checkpoint` finds: arrays by key and, for v2, names by key."""

    def store(arrays: dict[str, np.ndarray], names: dict[str, str] | None = None) -> None:
        shapes = {key: array.shape for key, array in arrays.items()}
        if names:
            shapes["_CHECKPOINTABLE_OBJECT_GRAPH"] = ()

        monkeypatch.setattr(
            tf_checkpoint,
            "open_checkpoint",
            lambda path: checkpoint_of(path, shapes, names or {}, arrays.__getitem__),
        )

    return store


@pytest.fixture
def detector_arrays(stored) -> dict[str, np.ndarray]:
    arrays = arrays_of(build_detector(TINY, **NARROW, **HEAD))
    stored({**arrays, "global_step": np.zeros(()), "spinenet/conv2d/kernel/Momentum": np.zeros(3)})
    return arrays


def command(model: str, output: Path, *more: str) -> list[str]:
    return ["import-checkpoint", "model.ckpt-1", "--model", model, "-o", str(output), *SCALING, *more]


def assert_holds(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    for name, variable in tf_variables(module).items():
        assert np.array_equal(variable.numpy(), arrays[name]), name


def test_a_v1_checkpoint_becomes_a_detector(detector_arrays, tiny_spec, tmp_path, capsys):
    output = tmp_path / "weights.safetensors"
    assert main(command(tiny_spec, output, *HEADS)) == 0
    out = capsys.readouterr().out
    assert f"{len(detector_arrays)} variables of the paper's code; 2 slots, averages and counters" in out
    assert "relu is assumed (--activation)" in out
    detector = load_detector(output)
    assert_holds(detector, detector_arrays)
    num_parameters = sum(parameter.numel() for parameter in detector.parameters())
    assert f"{tiny_spec} detector with 3 classes, {num_parameters / 1e6:.3f} M parameters, v1, relu" in out
    model = json.loads((tmp_path / "weights.json").read_text())["model"]
    assert (model["num_classes"], model["compat"], model["activation"]) == (3, "v1", "relu")


def test_a_v2_checkpoint_becomes_a_detector(stored, tmp_path, capsys):
    detector = build_detector(
        "spinenet49",
        num_classes=5,
        filter_size_scale=0.25,
        endpoints_num_filters=8,
        head_num_convs=2,
        head_num_filters=8,
    )
    arrays = arrays_of(detector)
    by_key, names = {}, {}
    for line in (RECORDS / "spinenet49.txt").read_text().splitlines():
        place, full_name, layer = line.split(" ")
        for leaf in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"):
            if f"{layer}/{leaf}" in arrays:
                key = f"{place}/{leaf}{VALUE_SUFFIX}"
                by_key[key], names[key] = arrays[f"{layer}/{leaf}"], f"{full_name}/{leaf}"
    stored(by_key, names)
    output = tmp_path / "w.safetensors"
    options = ["--filter-size-scale=.25", "--endpoints-num-filters=8", "--head-num-convs=2"]
    arguments = ["import-checkpoint", "ckpt-1", "--model", "SpineNet-49", "-o", str(output), *options]
    assert main([*arguments, "--head-num-filters=8"]) == 0
    out = capsys.readouterr().out
    assert "variables of the Model Garden; 0 slots" in out
    assert "swish is assumed (--activation)" in out
    loaded = load_detector(output)
    assert_holds(loaded, arrays)
    assert loaded.head.num_classes == 5
    assert (loaded.backbone.arguments["compat"], loaded.backbone.arguments["bn_eps"]) == ("v2", 1e-3)


def test_options_decide_activation_compat_and_epsilon(detector_arrays, tiny_spec, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    options = ["--activation=swish", "--compat=v2", "--bn-eps=1e-5", "--num-classes=3"]
    assert main(command(tiny_spec, output, *HEADS, *options)) == 0
    out = capsys.readouterr().out
    assert "note: v2 is requested, in which weights of v1 give other outputs" in out
    assert "is assumed" not in out
    arguments = load_detector(output).backbone.arguments
    assert [arguments[k] for k in ("activation", "compat", "bn_eps")] == ["swish", "v2", 1e-5]


def test_a_checkpoint_without_a_head_becomes_a_backbone(stored, tiny_spec, tmp_path, capsys):
    arrays = arrays_of(build_backbone(TINY, **NARROW))
    stored(arrays)
    output = tmp_path / "w.safetensors"
    assert main(command(tiny_spec, output)) == 0
    assert f"{tiny_spec} backbone, " in capsys.readouterr().out
    assert_holds(load_backbone(output), arrays)
    fails(
        command(tiny_spec, tmp_path / "x.safetensors", "--num-classes=3"),
        "--num-classes: only a backbone",
        capsys,
    )


def test_other_heads_are_refused_unless_the_backbone_alone_is_wanted(
    detector_arrays, stored, tiny_spec, tmp_path, capsys
):
    output = tmp_path / "w.safetensors"
    heads = {"rpn_head/rpn/kernel": np.zeros(3, np.float32), "dense/bias": np.zeros(3, np.float32)}
    stored({**detector_arrays, **heads})
    fails(
        command(tiny_spec, output, *HEADS),
        "rpn_head/rpn/kernel is left over; dense/bias is left over$",
        capsys,
    )
    assert main(command(tiny_spec, output, "--backbone-only")) == 0
    assert_holds(load_backbone(output), detector_arrays)
    fails(
        command(tiny_spec, output, "--backbone-only", "--force", *HEADS),
        "--head-num-convs: only a backbone",
        capsys,
    )


def test_what_does_not_fit_is_named_in_one_line(detector_arrays, stored, tiny_spec, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    for options, message in (
        (
            ["--num-classes=4"],
            r"class-predict/kernel has shape \[3, 3, 8, 6\] where the model has \[3, 3, 8, 8\]",
        ),
        (["--filter-size-scale=0.125"], r"conv2d_1/kernel has shape .*; .*; .*; and \d+ more$"),
        (["--block-repeats=2"], r"conv2d_8/kernel has shape .*; .*; .*; and \d+ more$"),
        (["--num-anchors=4"], "--num-anchors: must divide the 6 class scores per pixel .* got 4$"),
        (["--num-anchors=0"], "--num-anchors: must divide"),
        (["--num-classes=0"], "num_classes must be a whole number of at least 1, got 0"),
        (["--endpoints-num-filters=0"], "endpoints_num_filters must be a whole number of at least 1"),
    ):
        fails(command(tiny_spec, output, *HEADS, *options), f"^spinesearch: .*{message}", capsys)
    detector_arrays["retinanet/box_net/box-predict/bias"][2] = np.nan
    fails(command(tiny_spec, output, *HEADS), "box-predict/bias holds numbers that are not finite", capsys)
    stored({n: a for n, a in detector_arrays.items() if "class-predict" not in n})
    fails(command(tiny_spec, output, *HEADS), "class-predict/bias: the .* not this variable", capsys)
    assert not list(tmp_path.glob("w*"))


def test_bad_arguments_are_reported_in_one_line(detector_arrays, tiny_spec, tmp_path, capsys, monkeypatch):
    output = tmp_path / "w.safetensors"
    fails(command("spinenet49x", output), "did you mean spinenet49", capsys)
    fails(command(str(tmp_path / "none.json"), output), "none.json: cannot be read", capsys)
    fails(command(tiny_spec, tmp_path / "w.pt"), "must end in .safetensors", capsys)
    fails(command(tiny_spec, tmp_path / "none" / "w.safetensors"), "there is not a folder", capsys)
    repeated = command("resnet50_fpn", output, "--block-repeats=2")
    fails(repeated, "block_repeats: resnet50_fpn has none to change, got 2", capsys)
    for arguments, message in (
        (["model.ckpt", "-o", str(output)], "--model"),
        (["model.ckpt", "--model", tiny_spec], "-o/--output"),
        (command(tiny_spec, output, "--compat=v3")[1:], "--compat: invalid choice"),
        (command(tiny_spec, output, "--num-classes=many")[1:], "--num-classes: invalid int"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["import-checkpoint", *arguments])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    monkeypatch.undo()
    fails(command(tiny_spec, output), "model.ckpt-1: no TensorFlow checkpoint is there", capsys)
    assert not list(tmp_path.glob("w*"))


def test_nothing_is_overwritten_unasked(detector_arrays, tiny_spec, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    output.write_text("precious")
    fails(command(tiny_spec, output, *HEADS), "w.safetensors: exists already", capsys)
    assert output.read_text() == "precious"
    assert main(command(tiny_spec, output, *HEADS, "--force")) == 0
    assert_holds(load_detector(output), detector_arrays)


@pytest.mark.parametrize(
    ("model", "compat", "activation"),
    [
        ("spinenet49", "v1", "relu"),
        ("spinenet49", "v2", "swish"),
        ("spinenet_mobile49", "v1", "swish"),
        ("spinenet_mobile49", "v2", "swish"),
        ("resnet50_fpn", "v1", "relu"),
        ("resnet50_fpn", "v2", "relu"),
    ],
)
def test_the_activation_that_most_released_checkpoints_have(model, compat, activation):
    from spinesearch.cli.networks.import_checkpoint import usual_activation

    assert usual_activation(model, compat) == activation


def test_help_says_it(capsys):
    assert main(["--help"]) == 0
    assert "import-checkpoint  a released TensorFlow checkpoint as safetensors" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["import-checkpoint", "--help"])
    assert stopped.value.code == 0
    assert "--backbone-only" in capsys.readouterr().out
