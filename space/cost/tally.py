"""Running totals over the layers of a network: what `spinesearch.space.cost.cost` counts with."""

from __future__ import annotations

from spinesearch.space.arch.spec import MAX_LEVEL
from spinesearch.space.cost.plan import image_size, level_side

# TensorFlow's swish is x * sigmoid(beta * x): two multiplications. It has no count for ReLU, sigmoid, fused
# batch normalisation and nearest upsampling (tensorflow/python/profiler/internal/flops_registry.py).
SWISH_FLOPS = 2
_INITIALISER_FLOPS = 2  # per weight: a random number times a deviation, plus a mean, in the profiled graph


class Tally:
    """Running totals over the layers of a network that takes images of one size.

    `pixels` in the methods are those that a layer puts out; 0 if it never runs.

    Attributes:
        image_size: height and width.
        activation_flops: of an activation, per element.
        pixels: of a feature, by level.
        parameters: trained numbers so far.
        multiply_adds: of the convolutions so far.
        other_flops: what else TensorFlow's profiler counts, so far.

    Args:
        input_size: side of a square image in pixels, or (height, width).
        activation_flops: floating-point operations of an activation, per element, in the profiler's view.
    """

    __slots__ = (
        "activation_flops",
        "image_size",
        "multiply_adds",
        "other_flops",
        "parameters",
        "pixels",
    )

    def __init__(self, input_size: int | tuple[int, int], activation_flops: int) -> None:
        height, width = self.image_size = image_size(input_size)
        self.pixels = [level_side(height, n) * level_side(width, n) for n in range(MAX_LEVEL + 1)]
        self.parameters = 0
        self.multiply_adds = 0
        self.other_flops = 0
        self.activation_flops = activation_flops

    @property
    def totals(self) -> tuple[int, int, int]:
        """Parameters, multiply-adds and other operations so far."""
        return self.parameters, self.multiply_adds, self.other_flops

    @property
    def cost(self) -> tuple[int, int, int]:
        """Parameters, multiply-adds, and these with half of the other operations, so far."""
        return self.parameters, self.multiply_adds, self.multiply_adds + self.other_flops // 2

    def add(self, totals: tuple[int, int, int]) -> None:
        """Count what another tally has counted."""
        self.parameters += totals[0]
        self.multiply_adds += totals[1]
        self.other_flops += totals[2]

    def conv(
        self, in_channels: int, out_channels: int, kernel_size: int, pixels: int, *, bias: bool = False
    ) -> None:
        """Count a convolution; a depthwise one takes in 1 channel."""
        weights = in_channels * out_channels * kernel_size * kernel_size
        self.parameters += weights
        self.multiply_adds += weights * pixels
        self.other_flops += _INITIALISER_FLOPS * weights
        if bias:
            self.bias(out_channels, pixels)

    def bias(self, channels: int, pixels: int) -> None:
        """Count the biases of a convolution."""
        self.parameters += channels
        self.other_flops += channels * pixels

    def separable(
        self, in_channels: int, out_channels: int, kernel_size: int, pixels: int, *, bias: bool = False
    ) -> None:
        """Count a depthwise convolution without bias and the 1x1 convolution after it."""
        self.conv(1, in_channels, kernel_size, pixels)
        self.conv(in_channels, out_channels, 1, pixels, bias=bias)

    def conv_norm(
        self, in_channels: int, out_channels: int, kernel_size: int, pixels: int, *, activate: bool = True
    ) -> None:
        """Count a convolution without bias, its norm and, unless requested otherwise, the activation."""
        self.conv(in_channels, out_channels, kernel_size, pixels)
        self.norm(out_channels)
        if activate:
            self.activation(out_channels, pixels)

    def numbers(self, count: int) -> None:
        """Count trained numbers that no layer multiplies with."""
        self.parameters += count

    def norm(self, channels: int) -> None:
        """Count a batch normalisation's gammas and betas."""
        self.parameters += 2 * channels

    def activation(self, channels: int, pixels: int) -> None:
        """Count an activation."""
        self.other_flops += self.activation_flops * channels * pixels

    def elementwise(self, channels: int, pixels: int, *, num_operations: int = 1) -> None:
        """Count sums or products of two features, or means over a feature."""
        self.other_flops += num_operations * channels * pixels

    def max_pool(self, channels: int, kernel_size: int, pixels: int) -> None:
        """Count a max-pool, to the profiler a comparison per element of its window."""
        self.other_flops += kernel_size * kernel_size * channels * pixels
