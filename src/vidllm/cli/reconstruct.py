"""``reconstruct``: cameras, depth and points in metres, written to files."""

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tyro.conf import Positional

from vidllm.cli.options import Common, scene_record, working
from vidllm.types import UsageError, VidLLMError

FORMATS = ("ply", "glb", "npz", "colmap")


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Common):
    """Reconstruct a video in metres: points, cameras, depth."""

    video: Positional[str]
    """File, folder of images or glob."""
    out: Path
    """Directory for the files; made if needed."""
    formats: str = "ply,glb,npz"
    """Which files, separated by commas: ply, glb, npz, colmap."""
    max_points: int = 500_000
    """Points in the ply, glb and colmap files at most."""
    confidence_percentile: float = 20.0
    """Leave out this percentage of pixels with the lowest confidence."""

    def run(self) -> None:
        formats = self._check()
        pipeline = self.load(language=False)
        scene = self.encode(pipeline, self.video)
        with working(f"writing {self.out}"):
            written = scene.export(
                self.out,
                formats=formats,
                max_points=self.max_points,
                confidence_percentile=self.confidence_percentile,
            )
            record = {
                "files": {name: str(path) for name, path in written.items()},
                "scene": scene_record(scene),
                "model": pipeline.name,
                "trained": bool(pipeline.trained),
            }
            written["run"] = self._write_run(record)
        record["files"]["run"] = str(written["run"])
        lines = [f"{name:7} {path}" for name, path in written.items()]
        told = record["scene"]
        lines.append(
            f"scale {told['scale']:.3f} m per unit, "
            f"spread {100 * told['scale_spread']:.1f} % over frames"
        )
        if told["num_connected"] < told["num_frames"]:
            lines.append(
                f"only {told['num_connected']} of {told['num_frames']} frames fit together: "
                "film more slowly, or use more frames (--num-frames)"
            )
        self.emit(record, "\n".join(lines))

    def _check(self) -> tuple[str, ...]:
        """Refuse bad options before the model is loaded."""
        formats = tuple(part.strip() for part in self.formats.split(",") if part.strip())
        unknown = [name for name in formats if name not in FORMATS]
        if unknown or not formats:
            raise UsageError(f"--formats {self.formats!r}: choose from {', '.join(FORMATS)}")
        if self.max_points < 1:
            raise UsageError(f"--max-points must be at least 1, got {self.max_points}")
        if not 0 <= self.confidence_percentile < 100:
            raise UsageError(
                f"--confidence-percentile must be in [0, 100), got {self.confidence_percentile}"
            )
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"--out {self.out} is a file: give a directory")
        return formats

    def _write_run(self, record: dict) -> Path:
        """``run.json``: what made the files."""
        run = {
            "command": ["vidllm", *sys.argv[1:]],
            "config": {k: str(v) if isinstance(v, Path) else v for k, v in vars(self).items()},
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("vidllm", "torch", "transformers", "av")},
            },
            "seed": self.seed,
            "peak_memory_bytes": peak_memory(),
            **record,
        }
        path = self.out / "run.json"
        beside = path.with_name(f".run.json.{os.getpid()}")
        try:
            beside.write_text(json.dumps(run, indent=2) + "\n")
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise VidLLMError(f"cannot write {path}: {error.strerror}") from error
        return path


def peak_memory() -> int:
    """Peak resident memory of this process in bytes, plus what PyTorch took of a CUDA device."""
    import resource

    import torch

    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return resident + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
