"""A candidate that fails: reported in one line, with nothing of it left in memory."""

from __future__ import annotations

import gc
import traceback
from contextlib import suppress

import torch

from spinesearch.training.process.device_memory import has_little_left, is_crowded

# Of the errors that are no `OutOfMemoryError` or `MemoryError` of their own: torch's CPU allocator (Linux and
# macOS, Windows), the CUDA driver, the same through Triton, cuBLAS and cuDNN.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# cuDNN's where there is no room for any algorithm's workspace, and where it knows no algorithm; cuBLAS's
# where there is no room for its handle, and where it is of no use at all. With little memory left they are
# taken for the first.
_WITHOUT_ENGINE = (
    "unable to find an engine",
    "Unable to find a valid cuDNN algorithm",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
_MAX_REASON = 300  # characters; torch's own account of its memory runs to a thousand


class OutOfMemory(RuntimeError):  # noqa: N818 - it says what happened
    """The candidate needs more memory than there is; the text is one line."""


class DeviceLost(SystemExit):
    """The device can no longer be used in this process, as after an illegal access or a failed assertion.

    Not the candidate's own failure, and its successors would fail too, so it ends the process: a worker's is
    replaced and the candidate tried again.
    """


class DeviceCrowded(SystemExit):
    """Memory ran out beside other processes that hold more of the device than their share.

    Nothing is known of the candidate by that; it ends the process as a `DeviceLost` does, so that the attempt
    counts as lost and not as the candidate's failure.
    """


def released(error: Exception, device: torch.device) -> Exception | DeviceLost | DeviceCrowded:
    """The error to raise instead, which holds nothing of the candidate; memory is free when this returns.

    An error's traceback holds every frame that it came through, and these the model, its gradients and its
    activations, for as long as the error is referenced; emptying the frames (`traceback.clear_frames`) is
    not enough, as functions in them have closures. So the traceback is kept as text alone, in the error's
    notes, and the blocks that torch's allocator caches are released, for others may share the device.

    Args:
        error: what ended the candidate; call this while it is handled, and raise the outcome ``from None``.
        device: what the candidate ran on.

    Returns:
        The same error, or an `OutOfMemory` for any of the errors that report the end of memory, a
        `DeviceCrowded` if that is other processes' doing, or a `DeviceLost`.
    """
    outcome: Exception | DeviceCrowded = error
    if is_out_of_memory(error, device):
        text = " ".join(str(error).split()) or type(error).__name__
        outcome = OutOfMemory(f"out of memory: {text}"[:_MAX_REASON])
        if _is_crowded(device):
            outcome = DeviceCrowded(f"device {device} is filled by other processes: {text}"[:_MAX_REASON])
    else:
        error.add_note("".join(traceback.format_exception(error)))
    _forget_frames(error)
    gc.collect()  # cycles, as between a hook and its module
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
        except RuntimeError:
            text = " ".join(str(error).split())
            return DeviceLost(f"device {device} is lost: {type(error).__name__}: {text}"[:_MAX_REASON])
    return outcome


def is_out_of_memory(
    error: BaseException | None, device: torch.device, *, beside_graphs: bool = False
) -> bool:
    """Whether an error, or what it was raised from, reports the end of memory.

    Args:
        error: call this before anything that it holds is released.
        device: of the work.
        beside_graphs: whether graphs of the same training are open: eager steps before them have found
            engines for the same convolutions, so if cuDNN finds none now there was no room for one.
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError):
            if any(text in str(error) for text in _OUT_OF_MEMORY):
                return True
            is_without = any(text in str(error) for text in _WITHOUT_ENGINE)
            if is_without and (beside_graphs or _has_little_left(device)):
                return True
        error = error.__cause__
    return False


def _has_little_left(device: torch.device) -> bool:
    with suppress(RuntimeError):  # of a device that is lost nothing can be asked
        return has_little_left(device)
    return False


def _is_crowded(device: torch.device) -> bool:
    with suppress(RuntimeError):
        return is_crowded(device)
    return False


def _forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of all errors it was raised from."""
    pending: list[BaseException | None] = [error]
    while pending:
        if (one := pending.pop()) is not None:
            pending += [one.__cause__, one.__context__]
            one.__traceback__ = one.__cause__ = one.__context__ = None
