"""The exported Python file: it runs where spinesearch does not exist, and gives the same outputs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exported_networks import NETWORKS, build
from long_suite import few

from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.results.export.plain_twin import outputs_of, plain_twin
from spinesearch.results.export.python_file import write_python_file

# Our package is on the path of every Python of this environment, so it is hidden.
SCRIPT = """
import importlib.util, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "spinesearch":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Hidden())
try:
    import spinesearch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("spinesearch is there")
import torch
spec = importlib.util.spec_from_file_location("net", sys.argv[1])
net = importlib.util.module_from_spec(spec)
sys.modules["net"] = net
spec.loader.exec_module(net)
network = net.load()
images = torch.load(sys.argv[2])
with torch.no_grad():
    out = network(images)
    if isinstance(out, torch.Tensor):
        outputs = [out]
    elif isinstance(out, dict):
        outputs = list(out.values())
    elif len(out) == 2:
        outputs = [*out, network.detect(images)]
    else:
        outputs = [*out[:2], *out[2].values(), *network.detect(images)]
torch.save(outputs, sys.argv[3])
assert not any(name.startswith("spinesearch") for name in sys.modules)
"""


@pytest.mark.parametrize("name", few(NETWORKS, ["tiny"]))
@torch.no_grad()
def test_outputs_without_spinesearch(name: str, tmp_path: Path) -> None:
    """To 1e-6 of the maximum in float32; a ResNet's 50 layers round by a few times more."""
    module = build(name)
    path = tmp_path / "net.py"
    assert write_python_file(module, path, name=name, base_anchor=3.0) == tmp_path / "net.pt"
    images = torch.rand(2, 3, 64, 96)
    torch.save(images, tmp_path / "images.pt")
    command = [sys.executable, "-I", "-c", SCRIPT, "net.py", "images.pt", "outputs.pt"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    got = torch.load(tmp_path / "outputs.pt")
    wanted = outputs_of(module, images)
    if isinstance(module, MaskRCNN):
        wanted = [*wanted[:7], *plain_twin(module).detect(images)]
    if isinstance(module, RetinaNet):
        detections = got.pop()
        assert detections.shape == (2, 100, 6)
        assert detections[..., 4].count_nonzero() > 30
    tolerance = 1e-5 if "resnet" in name else 1e-6
    for one, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.parametrize("name", ["tiny", "backbone"])
def test_the_file_imports_torch_and_the_standard_library(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    write_python_file(build(name), path, name='evil"""\nimport os', base_anchor=3.0)
    tree = ast.parse(path.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert "os" not in imported  # a spec's name is text of others
    assert imported <= {"torch", *sys.stdlib_module_names}
    assert ("Detector" in {n.name for n in tree.body if isinstance(n, ast.ClassDef)}) == (name != "backbone")
    assert max(map(len, path.read_text().splitlines())) <= 220
