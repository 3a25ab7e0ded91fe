"""Heads on a backbone, and the detectors they make."""
