"""The order in which copies and work are queued on a GPU, by streams that record what is queued on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from small_training import CPU, make_batches

from spinesearch.training.input import device_copies
from spinesearch.training.input.device_copies import copied


class Stream:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_event(self, event: Event) -> None:
        self.log.append(f"{self.name} waits for {event.name}" if event.name else f"{self.name} goes on")

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Event:
    name = ""

    def record(self, stream: Stream) -> None:
        stream.log.append(f"{stream.name} has a mark")
        self.name = f"mark {sum(line == stream.log[-1] for line in stream.log)} of {stream.name}"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    work = Stream(lines, "work")
    copies = Stream(lines, "copies")
    monkeypatch.setattr(device_copies, "_copy_stream", lambda device: copies)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: work)

    @contextlib.contextmanager
    def stream(stream: Stream) -> Iterator[None]:
        assert stream.name == "copies"
        yield

    monkeypatch.setattr(torch.cuda, "stream", stream)
    return lines


def test_a_batch_is_copied_while_its_predecessor_is_used_and_not_before_its_slot_is_free(log) -> None:
    batches = make_batches([3, 5, 2, 4])
    where = []
    for batch, expected in zip(copied(batches, CPU), batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch[:4], expected[:4], strict=True))
        assert batch.images.stride() == expected.images.stride()
        where.append(batch.images.data_ptr())
        log.append("used")
    assert where[:2] == where[2:]  # two slots, by turns
    assert len({*where, *(b.images.data_ptr() for b in batches)}) == 2 + len(batches)
    begin = {1: "copies goes on", 2: "copies goes on"}  # nothing has been read from these slots yet
    assert log == [
        line
        for i in range(1, 5)
        for line in (
            begin.get(i, f"copies waits for mark {i - 2} of work"),
            "copies has a mark",
            f"work waits for mark {i} of copies",
            "used",
            "work has a mark",
        )
    ] + ["copies waits for work"]


def test_slots_that_are_given_up_early_wait_for_the_work_too(log) -> None:
    """Their memory is the stream's again, and its next user's copies must not overtake the work."""
    stream = copied(make_batches([3, 5]), CPU)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert log[-1] == "copies waits for work"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_no_batch_is_overwritten_before_it_is_used() -> None:
    """While every step takes far longer than a copy, so that copies would overtake it if they could."""
    device = torch.device("cuda", torch.cuda.current_device())
    batches = []
    for i in range(12):  # 50 MB each, so that a copy takes a millisecond and can be caught half done
        images = torch.full((64, 3, 512, 512), i + 1, dtype=torch.uint8)
        batch = make_batches([3 + i % 3])[0]._replace(images=images)
        batches.append(batch.each(torch.Tensor.pin_memory))
    weights = torch.randn(2048, 2048, device=device)
    sums = []
    for batch in copied(batches, device):
        for _ in range(20):
            weights = weights @ weights / weights.norm()
        sums.append(batch.images.sum())
    assert [int(total) for total in sums] == [(i + 1) * 64 * 3 * 512 * 512 for i in range(12)]
