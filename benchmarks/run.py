"""Measure what a user waits for; print it and write a dated report.

    make bench                                  # the example clip
    python benchmarks/run.py --video FILE       # another video

Times depend on what else the machine does, so `torch.mm` is timed between the measurements and
printed beside them.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import torch

REPOSITORY = Path(__file__).resolve().parents[1]


def matmul_rate(size: int = 1024, repeats: int = 20) -> float:
    """GFLOP/s of a float32 matrix product right now."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    a @ b
    start = perf_counter()
    for _ in range(repeats):
        a @ b
    return 2 * size**3 * repeats / (perf_counter() - start) / 1e9


def help_seconds(repeats: int = 3) -> float:
    """Best wall time of ``vidllm --help``."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        command = [sys.executable, "-m", "vidllm", "--help"]
        subprocess.run(command, check=True, capture_output=True)
        times.append(perf_counter() - start)
    return min(times)


def reconstruct(video: Path, num_frames: int) -> dict:
    """Wall time and peak memory of ``vidllm reconstruct`` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        start = perf_counter()
        command = [sys.executable, "-m", "vidllm", "reconstruct", str(video), "--out", directory]
        command += ["--num-frames", str(num_frames), "--formats", "npz,ply,glb"]
        subprocess.run(command, check=True, capture_output=True)
        seconds = perf_counter() - start
        run = json.loads((Path(directory) / "run.json").read_text())
    parts = run["scene"]["seconds"]
    return {"seconds": seconds, "peak_gigabytes": run["peak_memory_bytes"] / 1e9, "parts": parts}


def questions(video: Path, num_frames: int) -> dict:
    """Latency of the first question (video included) and of the second on the same scene."""
    from vidllm import Pipeline

    pipeline = Pipeline.from_pretrained("tiny")
    rates = [matmul_rate()]
    start = perf_counter()
    scene = pipeline(video, num_frames=num_frames)
    first_answer = scene.ask("What is in this room?")
    first = perf_counter() - start
    rates.append(matmul_rate())
    start = perf_counter()
    second_answer = scene.ask("Is there a chair next to the table?")
    second = perf_counter() - start
    rates.append(matmul_rate())
    tokenize = pipeline.processor.tokenizer
    return {
        "first_seconds": first,
        "second_seconds": second,
        "second_over_first": second / first,
        "first_tokens": len(tokenize(first_answer.text).input_ids),
        "second_tokens": len(tokenize(second_answer.text).input_ids),
        "tokens_per_second": len(tokenize(second_answer.text).input_ids) / second,
        "parts": scene.seconds,
        "matmul_gflops": rates,
    }


def report(record: dict) -> str:
    """The measurements as Markdown."""
    asked, built = record["questions"], record["reconstruct"]
    rates = ", ".join(f"{rate:.0f}" for rate in asked["matmul_gflops"])
    parts = ", ".join(f"{name} {value:.2f}" for name, value in asked["parts"].items())
    rows = [
        ("`vidllm --help`", f"{record['help_seconds']:.2f} s"),
        ("first question, video included", f"{asked['first_seconds']:.2f} s"),
        ("second question on the scene", f"{asked['second_seconds']:.2f} s"),
        ("second / first", f"{asked['second_over_first']:.2f}"),
        ("tokens in the two answers", f"{asked['first_tokens']}, {asked['second_tokens']}"),
        ("tokens per second", f"{asked['tokens_per_second']:.1f}"),
        ("parts of the first, seconds", parts),
        ("`vidllm reconstruct`, whole process", f"{built['seconds']:.1f} s"),
        ("its peak memory", f"{built['peak_gigabytes']:.2f} GB"),
        ("`torch.mm` float32 between measurements", f"{rates} GFLOP/s"),
    ]
    lines = [f"# {record['date']}: waiting times and memory", ""]
    lines += [f"Command: `{record['command']}`. {record['hardware']}.", ""]
    lines += [
        "| what | measured |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run everything and write ``benchmarks/DATE-latency.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=REPOSITORY / "examples" / "room.mp4")
    parser.add_argument("--num-frames", type=int, default=24)
    options = parser.parse_args()
    record = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/run.py --video {options.video.name} "
        f"--num-frames {options.num_frames}",
        "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()}), "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads",
        "help_seconds": help_seconds(),
        "reconstruct": reconstruct(options.video, options.num_frames),
        "questions": questions(options.video, options.num_frames),
    }
    text = report(record)
    print(text)
    path = REPOSITORY / "benchmarks" / f"{record['date']}-latency-{options.video.stem}.md"
    path.write_text(text)
    print(f"written to {path.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()
