"""The public models, ready to run, from a local file or folder (official or converted) or the hub.

Nothing is downloaded unless a hub id is given; weights are checked name by name before use.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForDepthEstimation,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from vidllm.models.convert import Dtype, read_weights
from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.llava_3d_processor import LLaVA3DProcessor
from vidllm.models.public_depth import PREPARATIONS, PublicDepth
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.models.weight_files import read_json
from vidllm.types import UsageError, VidLLMError, first_line

VGGT_HUB_ID = "facebook/VGGT-1B"
LLAVA_3D_HUB_ID = "ChaimZhu/LLaVA-3D-7B"
_HUB_FILES = ("*.safetensors", "*.pt", "*.bin", "*.json", "tokenizer.model")


def load_vggt(source: str | Path = VGGT_HUB_ID, *, dtype: Dtype = "keep") -> VGGT:
    """VGGT in evaluation mode, with the sizes that its files have.

    Args:
        source: Weight file, folder or hub id.
        dtype: Of the weights; its heads are best left in float32.

    Raises:
        UsageError: There are no such weights.
        VidLLMError: They cannot be read or are of another model.
    """
    fields, weights = read_weights("vggt", _local(source), dtype=dtype)
    with torch.device("meta"):
        model = VGGT(VGGTConfig(**fields))
    model.load_state_dict(weights, assign=True)
    return model.eval()


def load_llava_3d(
    source: str | Path = LLAVA_3D_HUB_ID, *, dtype: Dtype = "keep"
) -> tuple[LLaVA3D, LLaVA3DProcessor]:
    """LLaVA-3D in evaluation mode and its processor; the tokenizer lies beside the weights.

    Args:
        source: Folder or hub id.
        dtype: Of the weights.

    Raises:
        UsageError: There are no such weights.
        VidLLMError: They or the tokenizer cannot be read, or are of another model.
    """
    path = _local(source)
    fields, weights = read_weights("llava-3d", path, dtype=dtype)
    with torch.device("meta"):
        model = LLaVA3D(LLaVA3DConfig(**fields))
    model.load_state_dict(weights, assign=True)
    model.restore_buffers()
    tokenizer = read_tokenizer(path if path.is_dir() else path.parent)
    config = model.config
    processor = LLaVA3DProcessor(
        tokenizer, num_frames=config.num_frames, image_size=config.vision["image_size"]
    )
    return model.eval(), processor


def load_public_depth(source: str | Path) -> PublicDepth:
    """A metric depth network of Hugging Face: ZoeDepth, Depth Pro or Depth Anything (metric).

    Args:
        source: Folder or hub id.

    Raises:
        UsageError: There is no such network.
        VidLLMError: It cannot be read, or gives no metric depth.
    """
    folder = _local(source)
    if not (folder / "config.json").is_file():
        raise UsageError(f"no depth network {str(source)!r}: give a folder or a hub id")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in PREPARATIONS:
            raise VidLLMError(
                f"{source} is a {config.model_type}: metric depth is read from "
                f"{', '.join(PREPARATIONS)}"
            )
        network, info = AutoModelForDepthEstimation.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise VidLLMError(f"cannot load {source}: {first_line(error)}") from error
    if wrong := sorted({*map(str, info["missing_keys"]), *map(str, info["mismatched_keys"])}):
        raise VidLLMError(
            f"weights of {source} do not fit its config: {wrong[0]} is not as it says"
        )
    preparation = PREPARATIONS[config.model_type]
    described = folder / "preprocessor_config.json"
    if described.is_file():
        preparation = preparation.read(read_json(described))
    return PublicDepth(network, preparation).eval()


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """LLaVA-3D's, which comes with ``tokenizer.model`` only; sentencepiece reads that.

    Raises:
        VidLLMError: There is none, or sentencepiece is not installed.
    """
    whole = (folder / "tokenizer.json").is_file()
    if (folder / "tokenizer.model").is_file() and not whole and not find_spec("sentencepiece"):
        raise VidLLMError(
            f"{folder / 'tokenizer.model'} needs a package to be read: pip install sentencepiece"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = first_line(error)
        raise VidLLMError(
            f"no tokenizer in {folder}: put LLaVA-3D-7B's beside the weights ({reason})"
        ) from error


def _local(source: str | Path) -> Path:
    """The path itself, or where the hub's files were put.

    Raises:
        UsageError: It is neither a path nor a hub id, or the hub does not have or give it.
    """
    path = Path(source)
    if path.exists() or path.is_absolute() or str(source).count("/") != 1:
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=list(_HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UsageError(
            f"{source} is not on this machine, and the hub does not give it: {reason}"
        ) from error
