"""``info`` and ``doctor``."""

from dataclasses import asdict, dataclass

from rich.table import Table

from vidllm.cli.options import quiet_libraries, results


@dataclass(frozen=True, kw_only=True)
class Info:
    """Parameters and FLOPs of a model, part by part; needs no weights."""

    model: str = "tiny"
    """tiny, paper, or a directory written by save_pretrained."""
    num_frames: int | None = None
    """Frames of a video; the model's own number when left out."""
    height: int | None = None
    """Frame height in pixels; the model's short side when left out."""
    width: int | None = None
    """Frame width in pixels; 4:3 when left out."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        import json

        quiet_libraries()
        from vidllm.inference.loading import load_config
        from vidllm.models.accounting import count, vggt_flops
        from vidllm.types import UsageError

        config = load_config(self.model)
        patch = config.vision_config.patch_size
        short = config.short_side
        height = (self.height or short) // patch * patch
        width = (self.width or round(short * 4 / 3)) // patch * patch
        frames = self.num_frames or config.num_frames
        if height < patch or width < patch or frames < 1:
            raise UsageError(f"{frames} frames of {height} x {width} pixels: too small")
        parts = count(config, (height, width))
        record = {
            "model": self.model,
            "frames": frames,
            "image_size": [height, width],
            "parts": [asdict(part) | {"flops": part.flops(frames)} for part in parts],
            "parameters": sum(part.parameters for part in parts),
            "reconstruction_formula_flops": vggt_flops(config, (height, width), frames),
            "reconstruction_counted_flops": sum(
                part.flops(frames)
                for part in parts
                if part.name in ("vision_encoder", "global_frame_attention")
            ),
        }
        if self.json:
            print(json.dumps(record))
            return
        self._print(record)

    def _print(self, record: dict) -> None:
        frames, (height, width) = record["frames"], record["image_size"]
        table = Table(title=f"{self.model}: {frames} frames of {height} x {width} pixels")
        for column in ("part", "parameters (M)", "GFLOP per frame", f"GFLOP, {frames} frames"):
            table.add_column(column, justify="left" if column == "part" else "right")
        for part in record["parts"]:
            row = [part["name"], f"{part['parameters'] / 1e6:,.2f}"]
            if part["name"] == "language_model":
                row += [f"{part['flops_per_frame'] / 1e9:,.2f} a token", ""]
            elif part["flops"]:
                extra = part["flops_per_frame_squared"] / 1e9
                squared = f" + {extra:,.2f} S" if extra > 0.005 else ""
                row += [
                    f"{part['flops_per_frame'] / 1e9:,.2f}{squared}",
                    f"{part['flops'] / 1e9:,.1f}",
                ]
            table.add_row(*row, *[""] * (4 - len(row)))
        table.add_section()
        table.add_row("all", f"{record['parameters'] / 1e6:,.2f}", "", "")
        results.print(table)
        counted, formula = (
            record[f"reconstruction_{kind}_flops"] / 1e9 for kind in ("counted", "formula")
        )
        results.print(
            f"encoder + global-frame attention: {counted:,.1f} GFLOP counted, "
            f"{formula:,.1f} by VGGT's formula",
            highlight=False,
        )


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What is installed, where the weights are, and how to mend what is missing."""

    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> int:
        from vidllm.cli.doctor import doctor

        return doctor(as_json=self.json)
