"""The record of `reconstruction.py` as Markdown, JSON and a plot."""

import json
import statistics
from pathlib import Path

OFFICIAL = {
    ((224, 224), "float32"): (4.95, 144),
    ((224, 224), "bfloat16, heads too"): (3.03, 398),
    ((392, 518), "float32"): (44.1, 84),
    ((392, 518), "bfloat16, heads too"): (32.5, 193),
}
"""Seconds of VGGT's own code for the same network and input on a CPU, and the GFLOP/s of a matrix
product beside it, measured apart from this run (EPYC Zen 4; the larger size on one thread)."""


def write(record: dict, folder: Path) -> list[Path]:
    """Write the three files; returns their paths."""
    base = folder / f"{record['date']}-reconstruction-{record['device']}"
    paths = [base.with_suffix(suffix) for suffix in (".json", ".md", ".png")]
    paths[0].write_text(json.dumps(record, indent=1) + "\n")
    text = "\n\n".join(sections(record, paths[2].name)) + "\n"
    paths[1].write_text(text)
    plot(record, paths[2])
    print(text)
    return paths


def sections(record: dict, picture: str) -> list[str]:
    """Parts of the report."""
    compiled = ", our blocks compiled" if record["compiled"] else ""
    parts = [
        f"# {record['date']}: reconstruction",
        f"Command: `{record['command']}`. {record['hardware']}. Network: {record['network']}, "
        f"depth and point heads, 4 frames, random weights{compiled}. Times are medians, taken in "
        "turns with `torch.mm`; *definition* is the same network in the order of VGGT's "
        "definition (`networks.plain`), in the same run.",
        f"![Memory and time]({picture})",
        times_table(record),
        errors_table(record),
        memory_table(record),
    ]
    if "vggt" in record:
        parts += [vggt_table(record), paper_table(record), language_table(record)]
    return parts


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def times_table(record: dict) -> str:
    """Seconds and rates."""
    rows = []
    for row in record["times"]:
        ours, definition = (statistics.median(row[key]) for key in ("ours", "definition"))
        product = statistics.median(row["matmul"])
        rate = row["flops"] / ours / 1e9
        official, beside = OFFICIAL.get((tuple(row["size"]), row["mode"]), (None, 1))
        comparable = official is not None and record["device"] == "cpu"
        scaled = f"{ours / (official * beside / product):.2f}" if comparable else ""
        floor = f"{row['flops'] / 1e9 / (official * beside):.2f}" if comparable else ""
        outside = row.get("outside_products")
        share = f"{outside / (official * beside / product):.2f}" if comparable else ""
        size = f"{row['size'][0]} x {row['size'][1]}"
        rows.append(
            [
                *(size, row["mode"], f"{ours:.3f} s", f"{definition:.3f} s"),
                *(f"{ours / definition:.2f}", f"{row['flops'] / 1e9:,.0f}"),
                *(f"{row['definition_flops'] / 1e9:,.0f}", f"{rate:,.0f}"),
                *(f"{product:,.0f}", f"{rate / product:.2f}", scaled, floor, share),
            ]
        )
    header = ["frames", "precision", "ours", "definition", "ours / definition", "GFLOP"]
    header += ["GFLOP of the definition", "GFLOP/s", "`torch.mm` GFLOP/s", "ratio"]
    header += ["ours / official code (scaled)", "floor", "outside products"]
    note = (
        "*Official code (scaled)*: the time of VGGT's own code on a CPU, measured apart, times the "
        "ratio of the `torch.mm` rates; *floor*: the same if all our operations ran at the rate of "
        "`torch.mm`; *outside products*: what operations that multiply no matrices took (softmax, "
        "norms, GELU, resizing, casts), by the same measure. Both together are what would be left "
        "with products at the rate of `torch.mm`: no bound, as convolutions can exceed it. Ours "
        "needs fewer operations for the same outputs: convolutions that follow each other are one, "
        "and 1x1 convolutions come before the resizing. "
        "On a GPU, float32 convolutions use TF32 as PyTorch's default has it."
    )
    return f"## Time\n\n{table(header, rows)}\n\n{note}{emulation_note(record)}"


def emulation_note(record: dict) -> str:
    """Why bfloat16 is left out, where it is: the least time that a scene could take."""
    rate = record["emulated_bfloat16"]
    if rate is None:
        return ""
    least = [f"{row['flops'] / 1e9 / rate:,.0f} s" for row in record["times"]]
    return (
        f"\n\nThis processor emulates bfloat16: `torch.mm` does {rate:.1f} GFLOP/s in it, at which "
        f"a scene takes at least {' and '.join(least)}. So only float32 was timed."
    )


def errors_table(record: dict) -> str:
    """Distances to float32."""
    names = list(record["times"][0]["errors"])
    rows = [
        [f"{row['size'][0]} x {row['size'][1]}", row["mode"]]
        + [f"{row['errors'][name]:.1e}" for name in names]
        for row in record["times"]
    ]
    note = "Relative L2 distance of our outputs to the definition's in float32."
    return f"## Rounding\n\n{note}\n\n{table(['frames', 'precision', *names], rows)}"


def memory_table(record: dict) -> str:
    """Peaks by frames and the growth a frame."""
    ours, definition = record["memory"]["ours"], record["memory"]["definition"]
    rows = [
        [str(frames), f"{ours[frames] / 1e6:,.0f} MB", f"{definition[frames] / 1e6:,.0f} MB"]
        for frames in ours
    ]
    growth = record["growth"]
    rows.append(
        ["a frame", f"{growth['ours'] / 1e6:.1f} MB", f"{growth['definition'] / 1e6:.1f} MB"]
    )
    note = (
        "Beyond weights and images, float32, frames of 224 x 224; growth from 8 frames on. "
        f"Ours over keeping all layers: {growth['ours'] / growth['definition']:.2f}."
    )
    return f"## Memory\n\n{table(['frames', 'ours', 'all layers kept'], rows)}\n\n{note}"


def vggt_table(record: dict) -> str:
    """VGGT-1B beside its authors' figures."""
    rows = [
        [
            *(str(row["frames"]), f"{row['seconds']:.3f} s", f"{row['published'][0]:.2f} s"),
            *(f"{row['bytes'] / 1e9:.2f} GB", f"{row['published'][1]:.2f} GB"),
        ]
        for row in record["vggt"]
    ]
    header = ["frames", "ours", "published", "memory, ours", "published"]
    note = (
        "Encoder and attention in bfloat16 autocast, 336 x 518, random weights; memory includes "
        "the weights (linear layers in bfloat16). Published: VGGT's README, one H100 with "
        "FlashAttention 3."
    )
    return f"## VGGT-1B\n\n{table(header, rows)}\n\n{note}"


def paper_table(record: dict) -> str:
    """The paper's size by frames."""
    rows = [
        [
            *(str(row["frames"]), f"{row['seconds']:.3f} s", f"{row['bytes'] / 1e9:.1f} GB"),
            f"{row['flops'] / row['seconds'] / 1e12:.0f}",
        ]
        for row in record["paper"]["frames"]
    ]
    height, width = record["paper"]["size"]
    header = ["frames", "scene encoded in", "peak memory", "TFLOP/s of encoder and attention"]
    note = (
        f"`encode_scene` of the paper's size at {height} x {width}, bfloat16 autocast, heads in "
        "float32, a language model of 7B in bfloat16 in memory; random weights. The rate divides "
        "the operations of encoder and attention alone by the whole time."
    )
    return f"## Paper's size: scenes\n\n{table(header, rows)}\n\n{note}"


def language_table(record: dict) -> str:
    """Questions about the largest scene."""
    rows = [
        [
            *(str(row["questions"]), str(row["prompt"]), f"{row['prefix']:.3f} s"),
            *(f"{row['question']:.3f} s", f"{row['tokens'] / row['answer']:.1f}"),
        ]
        for row in record["paper"]["language"]
    ]
    header = ["questions at once", "tokens before them", "read once", "read questions"]
    header += ["answer tokens a second"]
    return f"## Paper's size: language\n\n{table(header, rows)}"


def plot(record: dict, path: Path) -> None:
    """Memory by frames, and time by size and precision."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (memory, times) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, grown in record["memory"].items():
        frames = [int(number) for number in grown]
        memory.plot(frames, [size / 1e6 for size in grown.values()], marker="o", label=name)
    memory.set(xlabel="frames of 224 x 224", ylabel="MB beyond weights", title="Memory")
    memory.legend()
    labels = [
        f"{r['size'][0]}x{r['size'][1]}\n{r['mode'].replace(', ', chr(10))}"
        for r in record["times"]
    ]
    places = range(len(labels))
    for shift, name in ((-0.2, "ours"), (0.2, "definition")):
        heights = [statistics.median(row[name]) for row in record["times"]]
        times.bar([place + shift for place in places], heights, width=0.4, label=name)
    times.set_xticks(list(places), labels, fontsize=7)
    times.set(ylabel="seconds, 4 frames", title="Time", yscale="log")
    times.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
