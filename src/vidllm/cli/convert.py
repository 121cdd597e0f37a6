"""``convert``: released weights of VGGT, LLaVA-3D and DINOv2 to vidllm's form and back."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import tyro

from vidllm.cli.options import quiet_libraries, results, working


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert released weights (files or a folder) to vidllm's names, or back."""

    kind: Annotated[Literal["vggt", "llava-3d", "dinov2"], tyro.conf.Positional]
    """Which model the weights are of."""
    source: Annotated[str, tyro.conf.Positional]
    """Weight file (.safetensors, .pt, .pth, .bin) or folder; shards by their index."""
    destination: Annotated[str, tyro.conf.Positional]
    """Folder to write; it must not exist yet, or be empty."""
    to: Literal["vidllm", "official"] = "vidllm"
    """official turns a folder that was converted before back into the released names."""
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = "keep"
    """Precision of the result; keep changes no value."""
    max_shard_gb: float = 2.0
    """Size of a file of weights, GB; about that much memory is needed."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        import json

        from vidllm.types import UsageError

        if not self.max_shard_gb > 0:
            raise UsageError(f"--max-shard-gb must be positive, got {self.max_shard_gb}")
        quiet_libraries()
        from vidllm.models.convert import convert

        with working(f"converting {self.source}"):
            conversion = convert(
                self.kind,
                self.source,
                self.destination,
                to=self.to,
                dtype=self.dtype,
                max_shard_bytes=int(self.max_shard_gb * 1e9),
            )
        record = asdict(conversion)
        if self.json:
            print(json.dumps(record))
            return
        lines = [
            f"{conversion.destination}: {conversion.tensors} tensors, "
            f"{conversion.parameters / 1e6:,.1f} M parameters"
        ]
        if conversion.unused:
            few = conversion.unused[0] + (", ..." if len(conversion.unused) > 1 else "")
            lines.append(
                f"{len(conversion.unused)} without a counterpart kept for the way back ({few})"
            )
        for title, digests in (("read", conversion.source_sha256), ("wrote", conversion.sha256)):
            lines += [f"{title} {name} sha256 {digest}" for name, digest in digests.items()]
        results.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
