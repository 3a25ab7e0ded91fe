"""The Python of docs/deploy.md runs on an exported detector, and finds what the network itself finds."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import build
from PIL import Image

from spinesearch.models.weights.files import save_weights
from spinesearch.results.export.onnx_file import write_onnx
from spinesearch.results.export.plain_twin import plain_twin

PAGE = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text()
ONNX, ADAPTERS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MISSING = [p for p in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(p) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[dev]'")
def test_onnx_in_python(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    twin = plain_twin(build("tiny"))
    write_onnx(twin, tmp_path / "detector.onnx", (64, 96), is_raw=False)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("picture.jpg")
    namespace: dict = {}
    exec(ONNX, namespace)
    lines = capsys.readouterr().out.splitlines()
    image = torch.from_numpy(namespace["image"]).permute(2, 0, 1)[None]
    found = twin.detect(image)[0]
    assert abs(len(lines) - int((found[:, 4] > 0.3).sum())) <= 1
    assert lines
    assert all(re.fullmatch(r"class [0-2] at [01]\.\d\d: \d+ \d+ \d+ \d+", line) for line in lines)


def test_adapters(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(build("tiny"), "detector.safetensors")
    exec(ADAPTERS, {})
