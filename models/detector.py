"""`build_detector` under the name that it was documented by until November 2026."""

from spinesearch.models.heads.detector import build_detector

__all__ = ["build_detector"]
