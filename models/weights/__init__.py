"""Weights on disk: our own files, and TensorFlow's checkpoints."""
