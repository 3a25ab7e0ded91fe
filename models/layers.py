"""The layers that every part of a detector is made of.

Shapes: B images, C channels, H x W pixels; a feature is [B, C, H, W]. "The released code", here and in the
other modules of this package, is the authors': github.com/tensorflow/tpu, models/official/detection. "The
Model Garden" is their later one: github.com/tensorflow/models, official/vision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.models.pointwise import can_rewrite, conv_norms
from spinesearch.space.cost.plan import MIN_IMAGE_SIDE

ACTIVATIONS = ("relu", "swish", "hard_swish")
# Whose padding, pooling and normalisation a network has: v1 the paper's code, v2 the Model Garden's.
COMPAT = ("v1", "v2")
BN_MOMENTUM = 0.003  # PyTorch's convention; 0.997 in the released RetinaNet configs
BN_EPS = 1e-4  # the released RetinaNet configs
BN_MOMENTUM_V2 = 0.01  # PyTorch's convention; 0.99 in the Model Garden
BN_EPS_V2 = 1e-3  # the Model Garden
_TRUNCATED_STD = 0.87962566103423978  # std of a unit normal cut off at 2 std, which TF divides by


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStyle:
    """What all layers of one network have in common.

    Attributes:
        activation: one of `ACTIVATIONS`.
        bn_momentum: weight of the newest batch in the running statistics (1 - TensorFlow's momentum).
        bn_eps: added to the variance.
        compat: one of `COMPAT`. In v1 convolutions of stride 2 pad both sides alike, in v2 as TensorFlow's
            SAME does, nothing before and one pixel after where a 3x3 kernel meets an even side.
    """

    activation: str = "relu"
    bn_momentum: float = BN_MOMENTUM
    bn_eps: float = BN_EPS
    compat: str = "v1"

    def build_activation(self) -> nn.Module:
        """The activation of this style."""
        return build_activation(self.activation)

    def build_norm(self, channels: int) -> nn.BatchNorm2d:
        """Batch normalisation over this many channels; its gammas start at 1."""
        return nn.BatchNorm2d(channels, eps=self.bn_eps, momentum=self.bn_momentum)


def build_style(
    activation: str, compat: str, *, bn_momentum: float | None = None, bn_eps: float | None = None
) -> LayerStyle:
    """Style of the released code's networks (v1) or the Model Garden's (v2).

    Args:
        activation: one of `ACTIVATIONS`.
        compat: one of `COMPAT`.
        bn_momentum: another weight of the newest batch than theirs.
        bn_eps: another addition to the variance than theirs.

    Raises:
        ValueError: compat is neither.
    """
    match compat:
        case "v1":
            momentum, eps = BN_MOMENTUM, BN_EPS
        case "v2":
            momentum, eps = BN_MOMENTUM_V2, BN_EPS_V2
        case _:
            raise ValueError(f"compat: expected one of {', '.join(COMPAT)}, got {compat!r}")
    return LayerStyle(
        activation=activation,
        bn_momentum=momentum if bn_momentum is None else bn_momentum,
        bn_eps=eps if bn_eps is None else bn_eps,
        compat=compat,
    )


def build_activation(name: str) -> nn.Module:
    """The activation of this name.

    ``swish`` is x * sigmoid(x), which PyTorch calls SiLU, and ``hard_swish`` x * relu6(x + 3) / 6.

    Raises:
        ValueError: the name is not one of `ACTIVATIONS`.
    """
    match name:
        case "relu":
            return nn.ReLU(inplace=True)  # only ever applied to a fresh tensor: a sum or a norm's output
        case "swish":
            return nn.SiLU()
        case "hard_swish":
            return nn.Hardswish()
    raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation and, by default, the activation.

    The padding is such that the output side is ceil(side / stride): symmetric, or in v2 TensorFlow's SAME,
    which differs where the stride is 2.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side of the kernel.
        style: activation and normalisation.
        stride: step of the kernel, in pixels.
        depthwise: whether every channel has its own kernel and reads no other channel.
        activate: whether the activation follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        style: LayerStyle,
        stride: int = 1,
        depthwise: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        is_same = style.compat == "v2" and stride > 1
        self.conv = (SameConv2d if is_same else nn.Conv2d)(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=0 if is_same else kernel_size // 2,
            groups=in_channels if depthwise else 1,
            bias=False,
        )
        self.is_pointwise = kernel_size == 1 and stride == 1 and not depthwise
        self.is_for_gpu = False  # see `spinesearch.models.gpu`
        self.norm = style.build_norm(out_channels)
        self.activation = style.build_activation() if activate else nn.Identity()
        if depthwise:
            depthwise_glorot_(self.conv.weight)
        else:
            variance_scaling_(self.conv.weight)
        use_channels_last(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        if self.is_pointwise and can_rewrite(x, (self,)):
            return conv_norms(x, (self,))[0]
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, to sides ceil(side / stride); built with padding 0."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (nn.Conv2d's name for it)
        """[B, C, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        (top, bottom), (left, right) = (
            _same_padding(side, k, s)
            for side, k, s in zip(input.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        return super().forward(F.pad(input, (left, right, top, bottom)))


def use_channels_last(conv: nn.Conv2d) -> None:
    """Store a kernel in the order in which features run and gradients come, which saves turning them."""
    conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it


class StochasticDepth(nn.Module):
    """In training, drops a sample's whole branch with probability `rate` and rescales the others.

    Args:
        rate: probability of dropping a sample's branch, 0 <= rate < 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"stochastic depth: the rate must be at least 0 and below 1, got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if not self.training or self.rate == 0.0:
            return x
        keep = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1.0 - self.rate)
        scale = keep.to(torch.promote_types(x.dtype, torch.float32)) / (1.0 - self.rate)
        return (x * scale).to(x.dtype)  # bfloat16 would round the scale itself, every sample's alike

    def extra_repr(self) -> str:
        """The rate, for ``print(module)``."""
        return f"rate={self.rate}"


def variance_scaling_(weight: Tensor) -> None:
    """Fills a kernel [out, in, h, w] as TensorFlow's VarianceScaling(1, fan_in, truncated normal) does."""
    fan_in = weight[0].numel()
    std = math.sqrt(1.0 / fan_in) / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2.0 * std, b=2.0 * std)


def depthwise_glorot_(weight: Tensor) -> None:
    """Fills a depthwise kernel [channels, 1, h, w] as the released code's layers do: Glorot's uniform.

    TensorFlow's kernel is [h, w, channels, 1] and the rule takes all channels for inputs of each output, so
    that the values come out sqrt((channels + 1) / 2) times smaller than for channels on their own. Kept as it
    is: batch normalisation takes the scale out of the function, but steps of one learning rate turn smaller
    kernels further, and so training starts as the authors' does.
    """
    channels, _, height, width = weight.shape
    limit = math.sqrt(6.0 / (height * width * (channels + 1)))
    nn.init.uniform_(weight, -limit, limit)


def refuse_torchscript(module: nn.Module) -> NoReturn:
    """What `torch.jit.script` calls first, as a network's ``__prepare_scriptable__``.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"{type(module).__name__}: TorchScript and the ONNX exporter on top of it (dynamo=False) do not "
        "support this network, whose sizes are worked out in Python; give "
        "torch.export.export(model, (images,)) or torch.onnx.export(..., dynamo=True)"
    )


def check_images(module: nn.Module, images: Tensor) -> tuple[int, int]:
    """Height and width of a batch of images for a network.

    Raises:
        ValueError: it is not [B, 3, H, W], or a side is less than 32 pixels, or not fixed in an export.
        RuntimeError: the network is being traced for TorchScript.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        refuse_torchscript(module)
    shape = tuple(images.shape)
    if torch.compiler.is_exporting() and any(isinstance(side, torch.SymInt) for side in shape[1:]):
        raise ValueError(
            "images: only the batch can be dynamic, because height and width decide how features are pooled "
            "and summed; export one program for each size"
        )
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < MIN_IMAGE_SIDE:
        raise ValueError(
            f"images: expected [B, 3, H, W], H and W at least {MIN_IMAGE_SIDE} pixels, got {list(shape)}"
        )
    return shape[2], shape[3]


def max_pool_same(x: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Max-pool of [B, C, H, W] with TensorFlow's SAME padding, to sides ceil(side / stride).

    SAME pads ``max((ceil(side / stride) - 1) * stride + kernel - side, 0)`` in all, the smaller half before,
    and a padded pixel never wins. Only the half before has to be requested: ``ceil_mode`` lets the last
    window run over the edge. ``MaxPool2d(3, 2, 1)`` pads both sides and reads other windows on an even side.
    """
    before = [
        _same_padding(side, k, s)[0] for side, k, s in zip(x.shape[-2:], kernel_size, stride, strict=True)
    ]
    return F.max_pool2d(x, kernel_size, stride, padding=before, ceil_mode=True)


def _same_padding(side: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Pixels that SAME adds before and after."""
    total = max((-(-side // stride) - 1) * stride + kernel_size - side, 0)
    return total // 2, total - total // 2


def resize_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] at another size: pixel i of n reads pixel floor(i * side / n), exactly.

    `F.interpolate` computes that index in floating point, which is exact where each side grows by a power of
    two; all other sizes read by an index computed in integers.
    """
    height, width = x.shape[-2:]
    if (height, width) == size:
        return x
    if _grows_by_power_of_two(height, size[0]) and _grows_by_power_of_two(width, size[1]):
        return F.interpolate(x, size=size, mode="nearest")
    rows = torch.arange(size[0], device=x.device) * height // size[0]
    columns = torch.arange(size[1], device=x.device) * width // size[1]
    return x.index_select(2, rows).index_select(3, columns)


def _grows_by_power_of_two(side: int, target: int) -> bool:
    factor, rest = divmod(target, side)
    return rest == 0 and factor.bit_count() == 1
