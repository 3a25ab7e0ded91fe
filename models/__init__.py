"""Spec to `torch.nn.Module`: backbones, heads, detectors. torch only.

Imports nothing by itself, so that light commands stay light: import `spinesearch.models.backbone` and its
neighbours.
"""
