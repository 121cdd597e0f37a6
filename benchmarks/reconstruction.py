"""Measure the reconstruction branch: time, GFLOP/s, memory a frame, rounding; write a dated report.

    python benchmarks/reconstruction.py                    # this machine's CPU
    python benchmarks/reconstruction.py --device cuda      # and a GPU's full-size models

Times depend on what else a machine does, so everything is timed in turns with a matrix product
(`torch.mm`) and with the same network computed in the order of VGGT's definition
(`networks.plain`).
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from networks import TINY, VIT_S, build, count_flops, plain
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from vidllm.models.compilation import compile_blocks
from vidllm.models.precision import store_linears_in
from vidllm.models.vggt import VGGT

NUM_FRAMES = 4
SIZES = ((224, 224), (392, 518))
MEMORY_FRAMES = (2, 4, 8, 16, 32)
MODES = ("float32", "bfloat16", "bfloat16, heads too")
"""In the second the heads compute in float32, as vidllm does by default."""
PRODUCTS = ("mm", "convolution", "attention")
"""Parts of names of operations that multiply matrices."""
OUTPUTS = {
    "pose": "pose_enc_3",
    "depth": "depth",
    "depth confidence": "depth_conf",
    "points": "world_points",
}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    synchronize(device)
    start = perf_counter()
    run()
    synchronize(device)
    return perf_counter() - start


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of a square matrix product right now."""
    size, repeats = (8192, 5) if device.type == "cuda" else (1024, 10)
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b

    def products() -> None:
        for _ in range(repeats):
            a @ b

    return 2 * size**3 * repeats / seconds_of(products, device) / 1e9


def runner(model: VGGT, images: Tensor, mode: str) -> Callable[[], dict[str, Tensor]]:
    """A function that reconstructs once."""
    half = mode != "float32"

    @torch.inference_mode()
    def run() -> dict[str, Tensor]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
            return model(images)

    return run


def networks(mode: str, options: argparse.Namespace, device: torch.device) -> dict[str, VGGT]:
    """Ours and the definition's in a precision."""
    model = build(TINY if options.tiny else VIT_S).to(device)
    if "heads" in mode:
        for head in (model.camera_head, model.depth_head, model.point_head):
            head.to(torch.bfloat16)
    definition = plain(model)
    for head in (model.depth_head, model.point_head):
        head.decoder.fuse()
    if mode != "float32":
        store_linears_in(torch.bfloat16, model.encoder, model.global_frame_attention)
    if options.compile:
        compile_blocks(model)
    return {"ours": model, "definition": definition}


def time_in_turns(
    runs: dict[str, Callable], device: torch.device, dtype: torch.dtype, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each function and, between them, the rate of a matrix product."""
    measured: dict[str, list[float]] = {name: [] for name in (*runs, "matmul")}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            measured["matmul"].append(matmul_rate(device, dtype))
            measured[name].append(seconds_of(run, device))
    measured["matmul"].append(matmul_rate(device, dtype))
    return measured


def seconds_outside_products(run: Callable[[], object]) -> float:
    """Wall time of one call on a CPU spent in operations that multiply no matrices."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    return 1e-6 * sum(
        event.self_cpu_time_total
        for event in profiled.key_averages()
        if not any(product in event.key for product in PRODUCTS)
    )


def emulated_rate(device: torch.device) -> float | None:
    """GFLOP/s of bfloat16 products where they are slower than those in float32: emulated."""
    exact, half = (matmul_rate(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    return half if half < exact else None


def measure_times(
    options: argparse.Namespace, device: torch.device, modes: Sequence[str]
) -> list[dict]:
    """One row for every precision and size."""
    rows, exact, flops = [], {}, {}
    for mode in modes:
        dtype = torch.float32 if mode == "float32" else torch.bfloat16
        models = networks(mode, options, device)
        for size in ((56, 56), (56, 84)) if options.tiny else SIZES:
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(NUM_FRAMES, 3, *size, generator=generator).to(device)
            runs = {name: runner(model, images, mode) for name, model in models.items()}
            if mode == "float32":
                exact[size] = runs["definition"]()
                flops[size] = [count_flops(m, NUM_FRAMES, size) for m in models.values()]
            row = {"size": size, "mode": mode, "errors": errors_of(runs["ours"](), exact[size])}
            row |= time_in_turns(runs, device, dtype, options.repeats)
            row["flops"], row["definition_flops"] = flops[size]
            if device.type == "cpu":
                row["outside_products"] = seconds_outside_products(runs["ours"])
            rows.append(row)
            medians = {name: round(statistics.median(row[name]), 3) for name in (*runs, "matmul")}
            print(f"{size[0]} x {size[1]}, {mode}: {medians}", file=sys.stderr)
    return rows


def errors_of(outputs: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Relative L2 distance of the outputs to the definition's in float32."""
    distances = {}
    for name, key in OUTPUTS.items():
        difference = outputs[key].double() - exact[key].double()
        distances[name] = float(difference.norm() / exact[key].double().norm())
    return distances


def measure_memory(
    options: argparse.Namespace, device: torch.device
) -> dict[str, dict[int, float]]:
    """Bytes that a reconstruction takes beyond weights and images, by frames.

    On a CPU each in a process of its own, as what one has taken another would reuse.
    """
    grown: dict[str, dict[int, float]] = {}
    models = networks("float32", options, device) if device.type == "cuda" else {}
    for name in ("ours", "definition"):
        grown[name] = {}
        for frames in MEMORY_FRAMES:
            if name in models:
                grown[name][frames] = memory_of_one_scene(models[name], frames, options.tiny)
                continue
            command = [sys.executable, __file__, "--one-scene", name, str(frames)]
            command += ["--tiny"] * options.tiny
            # Large blocks go back to the system when freed, so that the peak is what is in use.
            environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            grown[name][frames] = float(done.stdout)
            size = f"{grown[name][frames] / 2**20:,.0f} MiB"
            print(f"{name}, {frames} frames: {size}", file=sys.stderr)
    return grown


def memory_of_one_scene(model: VGGT, frames: int, tiny: bool) -> float:
    """Growth of the peak while one scene is reconstructed: resident memory, or a GPU's."""
    device = next(model.parameters()).device
    size = (56, 56) if tiny else SIZES[0]
    images = torch.rand(frames, 3, *size, device=device)
    runner(model, images[:1], "float32")()  # what is made only once
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        runner(model, images, "float32")()
        return float(torch.cuda.max_memory_allocated() - before)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak_memory()
    runner(model, images, "float32")()
    return float(peak_memory() - before)


def peak_memory() -> int:
    """Most bytes that this process held (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def slope(grown: dict[int, float]) -> float:
    """Bytes a frame, by least squares from 8 frames on: below, frames are decoded together."""
    points = [(frames, size) for frames, size in grown.items() if frames >= 8]
    line = statistics.linear_regression(*zip(*points, strict=True))
    return line.slope


def hardware(device: torch.device) -> str:
    """One line that says what was measured on."""
    line = f"{os.cpu_count()} CPU cores ({platform.machine()}), torch {torch.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name()}; {line}"
    return f"{line}, {torch.get_num_threads()} threads"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="scenes of each kind that are timed")
    parser.add_argument("--compile", action="store_true", help="compile our blocks")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="of the report")
    parser.add_argument("--one-scene", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write ``DATE-reconstruction-DEVICE`` as .md, .json and .png."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    if options.one_scene:
        name, frames = options.one_scene
        model = networks("float32", options, device)[name]
        print(memory_of_one_scene(model, int(frames), options.tiny))
        return
    from reconstruction_report import write

    emulated = emulated_rate(device)
    modes = MODES if emulated is None else MODES[:1]
    given = [f"--device {options.device}", f"--repeats {options.repeats}"]
    given += ["--compile"] * options.compile + ["--tiny"] * options.tiny
    record = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/reconstruction.py {' '.join(given)}",
        "hardware": hardware(device),
        "device": device.type,
        "network": "tiny" if options.tiny else "ViT-S 24 + 24",
        "compiled": options.compile,
        "times": measure_times(options, device, modes),
        "emulated_bfloat16": emulated,
        "memory": measure_memory(options, device),
    }
    record["growth"] = {name: slope(grown) for name, grown in record["memory"].items()}
    if device.type == "cuda":
        from full_size import measure_full_size

        record |= measure_full_size(device, tiny=options.tiny)
    for path in write(record, options.out):
        print(f"written to {path}", file=sys.stderr)
    print(json.dumps(record["growth"]), file=sys.stderr)


if __name__ == "__main__":
    main()
