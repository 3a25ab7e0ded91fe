import subprocess
import sys

import pytest

import spinesearch


def test_every_public_name_is_there_and_names_itself() -> None:
    for name in spinesearch.__all__:
        value = getattr(spinesearch, name)
        assert getattr(value, "__name__", name) == name


def test_every_public_name_that_needs_torch_is_listed() -> None:
    assert set(spinesearch._NEED_TORCH) <= set(spinesearch.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="build_nothing"):
        spinesearch.build_nothing  # noqa: B018


def test_torch_is_imported_only_when_asked_for() -> None:
    script = (
        "import sys, spinesearch; spinesearch.PUBLISHED; assert 'torch' not in sys.modules; "
        "spinesearch.build_detector; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
