"""``convert``: released weights to vidllm's form and back, or together to a Vid-LLM's start."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vidllm.cli.options import quiet_libraries, results, working
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.models.convert import Conversion
    from vidllm.models.from_teachers import Start


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert released weights (files or a folder) to vidllm's names, or back; or make a Vid-LLM
    that starts from its teachers, for `vidllm train --init`."""

    kind: Annotated[Literal["vggt", "llava-3d", "dinov2", "teachers"], tyro.conf.Positional]
    """Which model the weights are of; teachers are a VGGT and a LLaVA-3D."""
    source: Annotated[str, tyro.conf.Positional]
    """Weight file (.safetensors, .pt, .pth, .bin) or folder; shards by their index. Of teachers
    two, as VGGT+LLAVA-3D."""
    destination: Annotated[str, tyro.conf.Positional]
    """Folder to write; it must not exist yet, or be empty."""
    to: Literal["vidllm", "official"] = "vidllm"
    """official turns a folder that was converted before back into the released names."""
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = "keep"
    """Precision of the result; keep changes no value (float32 for teachers)."""
    max_shard_gb: float = 2.0
    """Size of a file of weights, GB; about that much memory is needed."""
    seed: int = 0
    """Of what no teacher has."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        if not self.max_shard_gb > 0:
            raise UsageError(f"--max-shard-gb must be positive, got {self.max_shard_gb}")
        quiet_libraries()
        with working(f"converting {self.source}"):
            done = self._start() if self.kind == "teachers" else self._convert()
        if self.json:
            print(json.dumps(asdict(done)))
            return
        lines = [
            f"{done.destination}: {done.tensors} tensors, {done.parameters / 1e6:,.1f} M parameters"
        ]
        lines += _told_start(done) if self.kind == "teachers" else _told_unused(done)
        for title, digests in (("read", done.source_sha256), ("wrote", done.sha256)):
            lines += [f"{title} {name} sha256 {digest}" for name, digest in digests.items()]
        results.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    def _convert(self) -> "Conversion":
        from vidllm.models.convert import convert

        return convert(
            self.kind,
            self.source,
            self.destination,
            to=self.to,
            dtype=self.dtype,
            max_shard_bytes=int(self.max_shard_gb * 1e9),
        )

    def _start(self) -> "Start":
        from vidllm.models.from_teachers import init_from_teachers

        parts = self.source.split("+")
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"teachers {self.source!r}: give two as VGGT+LLAVA-3D")
        if self.to == "official":
            raise UsageError("--to official has no meaning for teachers: nothing leads back")
        return init_from_teachers(
            *parts,
            self.destination,
            dtype="float32" if self.dtype == "keep" else self.dtype,
            max_shard_bytes=int(self.max_shard_gb * 1e9),
            seed=self.seed,
        )


def _told_unused(conversion: "Conversion") -> list[str]:
    if not conversion.unused:
        return []
    names = _few(conversion.unused)
    return [f"{len(conversion.unused)} without a counterpart kept for the way back ({names})"]


def _told_start(start: "Start") -> list[str]:
    lines = [f"{number} tensors from {kind}" for kind, number in start.taken.items()]
    lines += [f"{len(n)} of {k} left behind ({_few(n)})" for k, n in start.left.items() if n]
    return [*lines, f"{len(start.initialised)} initialised ({_few(start.initialised)})"]


def _few(names: list[str]) -> str:
    return names[0] + (", ..." if len(names) > 1 else "")
