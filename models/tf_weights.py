"""TensorFlow's weights under the name that they were documented by until November 2026."""

from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables

__all__ = ["load_tf_weights", "tf_variables"]
