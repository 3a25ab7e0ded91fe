"""Architecture search for scale-permuted detection backbones.

The public face: `ArchSpec`, `load_spec` and `build_backbone`. Everything else lives in its package: `spinesearch.space`,
`spinesearch.models`, `spinesearch.proxy_task`, `spinesearch.controller`, `spinesearch.search`, `spinesearch.results`.
"""

from typing import TYPE_CHECKING, Any

from spinesearch.space import ArchSpec, BlockSpec, SpecError, load_spec, preset

if TYPE_CHECKING:
    from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone

__version__ = "0.1.0"

__all__ = [
    "ArchSpec",
    "BlockSpec",
    "ScalePermutedBackbone",
    "SpecError",
    "__version__",
    "build_backbone",
    "load_spec",
    "preset",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for, so that ``spinesearch --help`` answers at once."""
    if name in ("ScalePermutedBackbone", "build_backbone"):
        from spinesearch.models import backbone

        return getattr(backbone, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
