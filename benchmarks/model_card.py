"""Write ``docs/models.md``: sizes and operations of the models, and what was measured of them.

    python benchmarks/model_card.py

Parameters and operations are computed from models without weights (`vidllm.models.accounting`),
measured figures come from the newest ``*-reconstruction-cuda.json`` in this folder, if there is
one.
"""

import json
import sys
from pathlib import Path

import torch
from reconstruction_report import table
from torch import nn

from vidllm.models.accounting import PartCost, count
from vidllm.models.llava_3d import LLaVA3D
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.recipes import RECIPES

REPOSITORY = Path(__file__).resolve().parents[1]
PEAK_FLOPS = 989e12
"""Of an H100 (SXM) in bfloat16, as its data sheet says."""
BANDWIDTH = 3.35e12
"""Bytes a second of its memory, likewise."""
FRAMES = (1, 2, 4, 8, 16, 32)
HALF = ("vision_encoder", "cross_task_adapter", "global_frame_attention", "language_model")
"""Parts whose weights a GPU holds in bfloat16; the others stay in float32."""


def image_size(recipe: str) -> tuple[int, int]:
    """Height and width of 4:3 frames at a recipe's short side, in whole patches."""
    config = RECIPES[recipe]()
    patch, short = config.vision_config.patch_size, config.short_side
    return short // patch * patch, round(short * 4 / 3) // patch * patch


def parts_table(parts: list[PartCost]) -> str:
    """Parameters and operations part by part."""
    rows = []
    for part in parts:
        cost = f"{part.flops_per_frame / 1e9:,.1f}" if part.flops_per_frame else ""
        if part.name == "language_model":
            cost = f"{part.flops_per_frame / 1e9:,.1f} a token"
        squared = f"{part.flops_per_frame_squared / 1e9:,.1f}"
        squared = squared if part.flops_per_frame_squared > 1e6 else ""
        rows.append([f"`{part.name}`", f"{part.parameters / 1e6:,.1f}", cost, squared])
    total = sum(part.parameters for part in parts)
    rows.append(["all", f"{total / 1e6:,.1f}", "", ""])
    header = ["part", "parameters (M)", "GFLOP a frame", "GFLOP times frames squared"]
    return table(header, rows)


def weights_bytes(parts: list[PartCost], bytes_of_half: int) -> float:
    """Bytes of all weights, with so many for each of those in `HALF` and 4 for the others."""
    return sum(p.parameters * (bytes_of_half if p.name in HALF else 4) for p in parts)


def kept_bytes(recipe: str, frames: int) -> float:
    """Bytes of the tokens that the heads read: four layers and the last, float32."""
    config = RECIPES[recipe]()
    attention, patch = config.global_frame_attention_config, config.vision_config.patch_size
    rows, columns = (side // patch for side in image_size(recipe))
    tokens = rows * columns + 1 + attention.num_register_tokens + attention.num_bridge_tokens
    layers = len({*config.dense_head_config.layers, attention.depth - 1})
    return frames * layers * tokens * 2 * attention.embed_dim * 4


def frames_table(parts: list[PartCost], recipe: str, measured: dict[int, dict]) -> str:
    """Operations, the least time they can take, tokens kept; and what was measured."""
    scene = [part for part in parts if part.name != "language_model"]
    rows = []
    for frames in FRAMES:
        flops = sum(part.flops(frames) for part in scene)
        row = measured.get(frames)
        rows.append(
            [
                *(str(frames), f"{flops / 1e12:,.2f}", f"{flops / PEAK_FLOPS:.3f} s"),
                f"{kept_bytes(recipe, frames) / 1e9:.2f} GB",
                f"{row['seconds']:.3f} s" if row else "not measured",
                f"{row['bytes'] / 1e9:.1f} GB" if row else "not measured",
            ]
        )
    header = ["frames", "TFLOP (computed)", "at peak rate (computed)", "tokens kept (computed)"]
    header += ["time (measured)", "peak memory (measured)"]
    return table(header, rows)


def newest_measurements() -> dict:
    """The newest record of a GPU; empty without one."""
    records = sorted((REPOSITORY / "benchmarks").glob("*-reconstruction-cuda.json"))
    return json.loads(records[-1].read_text()) if records else {}


def language_lines(parts: list[PartCost], record: dict) -> list[str]:
    """What bounds the language model, and what was measured of it."""
    language = next(part for part in parts if part.name == "language_model")
    size = 2 * language.parameters
    lines = [
        f"The language model reads its {size / 1e9:.1f} GB of bfloat16 weights for every token, so "
        f"one answer at a time takes at least {1e3 * size / BANDWIDTH:.1f} ms a token (computed)."
    ]
    for row in record.get("paper", {}).get("language", []):
        lines.append(
            f"Measured with {row['questions']} question(s) at once: {row['prompt']} tokens read in "
            f"{row['prefix']:.3f} s, questions in {row['question']:.3f} s, "
            f"{row['tokens'] / row['answer']:.0f} answer tokens a second."
        )
    return lines


def paper_card(record: dict) -> list[str]:
    """The section of the paper's model."""
    size = image_size("paper")
    parts = count(RECIPES["paper"](), size)
    measured = {row["frames"]: row for row in record.get("paper", {}).get("frames", [])}
    return [
        "## `paper`",
        f"Frames of {size[0]} x {size[1]}, parts and operations computed.",
        parts_table(parts),
        f"Weights: {weights_bytes(parts, 4) / 1e9:.1f} GB in float32, "
        f"{weights_bytes(parts, 2) / 1e9:.1f} GB with bfloat16 where autocast computes in it "
        "(computed).",
        frames_table(parts, "paper", measured),
        *language_lines(parts, record),
    ]


def teachers_card(record: dict) -> list[str]:
    """The section of the public models."""
    with torch.device("meta"):
        vggt, llava_3d = VGGT(VGGTConfig(enable_point=False)), LLaVA3D()
    rows = [
        [f"VGGT-1B `{name}`", f"{parameters(part) / 1e6:,.1f}"]
        for name, part in vggt.named_children()
    ]
    rows += [
        [f"LLaVA-3D-7B `{name}`", f"{parameters(part) / 1e6:,.1f}"]
        for name, part in llava_3d.named_children()
    ]
    total = parameters(vggt) + parameters(llava_3d)
    rows.append(["all", f"{total / 1e6:,.1f}"])
    lines = [
        "## `vggt+llava-3d`",
        "Without VGGT's point and track heads, which are not run (computed).",
        table(["part", "parameters (M)"], rows),
    ]
    if "vggt" in record:
        lines.append("VGGT-1B's encoder and attention at 336 x 518 (measured):")
        lines.append(
            table(
                ["frames", "time", "peak memory"],
                [
                    [str(row["frames"]), f"{row['seconds']:.3f} s", f"{row['bytes'] / 1e9:.1f} GB"]
                    for row in record["vggt"]
                ],
            )
        )
    return lines


def parameters(module: nn.Module) -> int:
    """How many numbers a module holds."""
    return sum(parameter.numel() for parameter in module.parameters())


def tiny_card() -> list[str]:
    """The section of the shipped model."""
    size = image_size("tiny")
    parts = count(RECIPES["tiny"](), size)
    return [
        "## `tiny`",
        f"Frames of {size[0]} x {size[1]} (computed). What it costs on a CPU is measured by "
        "`make bench`.",
        parts_table(parts),
    ]


def main() -> None:
    """Write the page."""
    record = newest_measurements()
    head = (
        "Written by `python benchmarks/model_card.py`. *Computed*: from models built without "
        "weights, two operations a multiply-add; the peak rate is an H100's 989 TFLOP/s in "
        "bfloat16, which nothing reaches. *Measured*: random weights of full size, bfloat16 "
        "autocast, heads in float32; memory includes the weights."
    )
    if record:
        head += f" Measured on {record['hardware']}, {record['date']}."
    sections = ["# Models", head, *paper_card(record), *teachers_card(record), *tiny_card()]
    path = REPOSITORY / "docs" / "models.md"
    path.write_text("\n\n".join(sections) + "\n")
    print(f"written to {path.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()
