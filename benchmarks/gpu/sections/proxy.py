"""`spinesearch bench proxy` on drawn images: eager steps and steps in a CUDA graph, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, configured, table
from kernel_times import times_by_kind

from spinesearch.cli.proxy.bench import rate
from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.bench import NUM_WARMUP_STEPS, BenchResult, Spread, bench_proxy
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import SPINENET_49

# 5 epochs of train2017 without the sixteenth held out, in batches of 64 (the SpineNet paper, section 5.1).
PAPER_STEPS = round(5 * (118_287 - 7_392) / 64)


def run_paper(quick: bool, emit: Emit) -> None:
    """At ``proxy_task=paper``; quick at a quarter of its side and with two images a step."""
    small = ["proxy_task.image_size=128", "proxy_task.batch_size=2", "proxy_task.precision=float32"]
    _run("paper", small if quick else [], quick=quick, num_steps=2 if quick else 40, emit=emit)


def run_small(quick: bool, emit: Emit) -> None:
    """At ``proxy_task=small``; quick with two images a step."""
    small = ["proxy_task.batch_size=2", "proxy_task.warmup_steps=2"]
    _run("small", small if quick else [], quick=quick, num_steps=2 if quick else 100, emit=emit)


def _run(name: str, overrides: Sequence[str], *, quick: bool, num_steps: int, emit: Emit) -> None:
    config, data = configured([f"proxy_task={name}", *(QUICK_DRAWN if quick else DRAWN), *overrides])
    task = config.proxy_task
    num_warmup_steps = 1 if quick else NUM_WARMUP_STEPS
    result = bench_proxy(
        task,
        data,
        SPINENET_49,
        num_steps=num_steps,
        num_warmup_steps=num_warmup_steps,
        seed=config.seed,
    )
    is_missing = result.device == "cuda" and task.cuda_graph == "auto" and result.graph_step is None
    lines = [
        f"SpineNet-49, {result.batch_size} images of {task.image_size} px a step, {result.dtype}, "
        f"{result.num_steps} steps measured on {result.device}.",
        "",
        *_rates(result),
        "",
        *_phases(result),
        "",
        "Once per candidate: "
        + ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in result.overhead.items())
        + f" ({len(data.held_out_index)} held-out images).",
    ]
    if name == "paper":
        step = result.graph_step or result.step
        lines += [
            "",
            f"At this rate the paper's {PAPER_STEPS} steps of a candidate take "
            f"{PAPER_STEPS * step.median / 60:.1f} min.",
        ]
    problem = "the training step was not captured in a CUDA graph" if is_missing else ""
    emit(Part(title="", lines=lines, values=_values(result), problem=problem))
    if name == "paper":
        _emit_before_and_after(task, data, result, num_warmup_steps, config.seed, emit)


def _emit_before_and_after(
    task: ProxySettings,
    data: ProxyData,
    result: BenchResult,
    num_warmup_steps: int,
    seed: int,
    emit: Emit,
) -> None:
    """The whole step with the plain forms, then what both spend by kind of kernel."""
    plain = replace(task, kernels="off")
    before = bench_proxy(
        plain, data, SPINENET_49, num_steps=result.num_steps, num_warmup_steps=num_warmup_steps, seed=seed
    )
    emit(
        Part(
            title="The same with `kernels=off`",
            lines=[*_rates(before), "", *_phases(before)],
            values=_values(before),
        )
    )
    found = {
        name: times_by_kind(settings, data, SPINENET_49, seed)
        for name, settings in (("kernels=off", plain), (f"kernels={task.kernels}", task))
    }
    rows = [
        (kind, *(f"{1e3 * seconds[kind]:.2f}" for seconds in found.values()))
        for kind in next(iter(found.values()))
    ]
    what = "kernels" if result.device == "cuda" else "operations"
    emit(
        Part(
            title=f"By kind, ms of {what} in an eager step",
            lines=table(("kind", *found), rows),
            values={"seconds_by_kind": found},
        )
    )


def _rates(result: BenchResult) -> list[str]:
    """A column for eager steps, and one for those in a graph where there are any."""
    columns = [("eager", result.step, result.eager_peak_memory, "-")]
    if result.graph_step is not None:
        captures = f"{result.overhead['graph capture']:.2f}"
        columns.append(("CUDA graph", result.graph_step, result.peak_memory, captures))
    rows: list[list[str]] = [
        ["step, ms, median (5th to 95th percentile)"],
        ["training images/s"],
        [f"share of the {rate(result.matmul_flops_per_s)} of a large {result.dtype} product"],
        ["peak memory, GiB"],
        ["captures, s"],
    ]
    for _, step, memory, captures in columns:
        images_per_s, flops_per_s = _speed(result, step)
        share = f"{rate(flops_per_s)}, {100 * flops_per_s / result.matmul_flops_per_s:.1f} %"
        cells = (_ms(step), f"{images_per_s:.0f}", share, f"{memory / 2**30:.2f}", captures)
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return table(("", *(column[0] for column in columns)), rows)


def _phases(result: BenchResult) -> list[str]:
    return table(
        ("phase of an eager step", "ms, median (5th to 95th percentile)", "share"),
        (
            (phase, _ms(spread), f"{100 * spread.median / result.step.median:.1f} %")
            for phase, spread in result.phases.items()
        ),
    )


def _speed(result: BenchResult, step: Spread) -> tuple[float, float]:
    """Images and floating-point operations per second at the median of these steps."""
    images_per_s = result.batch_size / step.median
    return images_per_s, images_per_s / result.images_per_s * result.flops_per_s


def _values(result: BenchResult) -> dict[str, object]:
    steps = {"eager": result.step} | ({"graph": result.graph_step} if result.graph_step else {})
    return {
        "step_s": {name: step._asdict() for name, step in steps.items()},
        "images_per_s": {name: _speed(result, step)[0] for name, step in steps.items()},
        "matmul_share": {
            name: _speed(result, step)[1] / result.matmul_flops_per_s for name, step in steps.items()
        },
        "phases_s": {name: spread._asdict() for name, spread in result.phases.items()},
        "overhead_s": result.overhead,
        "eager_peak_memory": result.eager_peak_memory,
        "peak_memory": result.peak_memory,
        "matmul_flops_per_s": result.matmul_flops_per_s,
        "multiply_adds": result.multiply_adds,
        "num_steps": result.num_steps,
        "batch_size": result.batch_size,
        "device": result.device,
        "dtype": result.dtype,
    }


def _ms(spread: Spread) -> str:
    return f"{1e3 * spread.median:.2f} ({1e3 * spread.low:.2f} to {1e3 * spread.high:.2f})"
