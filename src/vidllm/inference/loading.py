"""From a name, a directory or a hub id to a model and its processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from vidllm.models.config import SPECIAL_TOKENS, VidLLMConfig
from vidllm.models.eight_bits import DIFFERENCE, ROUNDED, STEP, decode
from vidllm.models.initialisation import initialise_all, special_token_rows
from vidllm.models.lora import inject_lora, merge_lora
from vidllm.models.pretrained import dinov2_small_path, language_model_path, weights_root
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.recipes import RECIPES
from vidllm.types import UsageError, VidLLMError, first_line

Loaded = tuple[VidLLMForConditionalGeneration, VidLLMProcessor]


def load_config(name_or_path: str) -> VidLLMConfig:
    """Configuration of a recipe or of a saved model, without its weights.

    Raises:
        UsageError: When there is no such model.
    """
    if name_or_path in RECIPES:
        return RECIPES[name_or_path]()
    directory = Path(name_or_path)
    if not directory.is_dir() and (name_or_path.count("/") != 1 or directory.is_absolute()):
        raise UsageError(
            f"no model {name_or_path!r}: use {', '.join(RECIPES)}, a saved model's directory "
            "or a hub id"
        )
    try:
        fields, _ = VidLLMConfig.get_config_dict(name_or_path)
        if fields.get("model_type") != VidLLMConfig.model_type:
            raise UsageError(
                f"{name_or_path} holds a model of type {fields.get('model_type')!r}, not vidllm"
            )
        return VidLLMConfig.from_pretrained(name_or_path)
    except OSError as error:
        raise UsageError(f"no model at {name_or_path}: {first_line(error)}") from error


def load_model(name_or_path: str) -> Loaded:
    """Load by name (``tiny``), from a directory that `save_pretrained` wrote, or from the hub.

    Raises:
        UsageError: When there are no such weights.
        VidLLMError: When the files cannot be read.
    """
    if name_or_path == "tiny":
        shipped = weights_root() / "tiny"
        if (shipped / "config.json").is_file():
            return load_trained(shipped)
        return load_base("tiny")
    if name_or_path in RECIPES:
        raise UsageError(
            f"recipe {name_or_path!r} has no public weights: train it, or give a directory "
            f"(`vidllm info --model {name_or_path}` prints its size)"
        )
    config = load_config(name_or_path)
    if config.base:
        return load_trained(Path(name_or_path))
    try:
        loaded = VidLLMForConditionalGeneration.from_pretrained(
            name_or_path, config=config, output_loading_info=True
        )
        model, info = cast(tuple[VidLLMForConditionalGeneration, dict], loaded)
        processor = VidLLMProcessor.from_pretrained(name_or_path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise VidLLMError(f"cannot load model {name_or_path}: {first_line(error)}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if found := sorted(map(str, info.get(kind) or ())):
            names = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            raise VidLLMError(
                f"weights of {name_or_path} do not fit its config: {len(found)} "
                f"{kind.replace('_', ' ')} ({names})"
            )
    return model.eval(), processor


def load_base(recipe: str, config: VidLLMConfig | None = None, **options) -> Loaded:
    """A recipe with shipped parts before any training: encoder and language model as shipped,
    adapter and heads as initialised.

    Args:
        recipe: Its name.
        config: Instead of the recipe's own.
        **options: Fields that the recipe's own shall have otherwise.

    Raises:
        UsageError: The recipe has no shipped parts.
    """
    if recipe != "tiny":
        raise UsageError(f"recipe {recipe!r} has no shipped weights to start from: only tiny has")
    config = config or RECIPES[recipe](**options)
    language_directory = language_model_path()
    language_model = AutoModelForCausalLM.from_pretrained(
        language_directory, dtype=torch.float32, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(language_directory, local_files_only=True)
    processor = VidLLMProcessor.from_config(config, tokenizer)
    model = assemble(config, language_model, dinov2_small_path())
    if config.word_anchors is not None:
        model.word_anchors.read_words(tokenizer)
    if config.category_encoder:
        model.category_encoder.load_pretrained()
    return model, processor


def load_trained(
    directory: Path, *, merge: bool = True, anew: Sequence[str] = (), **options
) -> Loaded:
    """A trained model that lies over a recipe's shipped parts (see `vidllm.training.export`).

    Args:
        directory: Of its config and weights.
        merge: Fold low-rank adapters into the language model; False keeps them, to train on.
        anew: Parts, by the beginning of their parameters' names, that start as the recipe has them;
            the config is then the recipe's too.
        **options: Fields that the recipe's config shall have otherwise, where parts start anew.

    Raises:
        UsageError: There is no such part.
        VidLLMError: Its weights are no weights of that model.
    """
    config = saved = load_config(str(directory))
    if anew:
        config = RECIPES[saved.base](**options)
        config.lora = None if "language_model.".startswith(tuple(anew)) else saved.lora
    model, processor = load_base(config.base, config)
    if config.lora is not None:
        inject_lora(model)
    for part in anew:
        if not any(name.startswith(part) for name, _ in model.named_parameters()):
            raise UsageError(f"no part {part!r} to start anew: the model has no such weights")
    _lay_over(model, directory, anew)
    if merge and config.lora is not None:
        merge_lora(model)
    return model.eval(), processor


def _lay_over(model: VidLLMForConditionalGeneration, directory: Path, anew: Sequence[str]) -> None:
    """Put trained weights in place, and add what changed in shipped ones."""
    known = dict(model.named_parameters()) | dict(model.named_buffers())
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(directory.glob("model-*.safetensors")):
        try:
            tensors |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise VidLLMError(f"{file} cannot be read: {first_line(error)}") from error
    for stored, tensor in tensors.items():
        if stored.startswith(tuple(anew)):
            continue
        name = stored.removesuffix(DIFFERENCE).removesuffix(ROUNDED)
        weight = name.removesuffix(STEP)
        if name != weight and tensors.keys() & {weight + DIFFERENCE, weight + ROUNDED}:
            continue
        if name not in known or known[name].shape != tensor.shape:
            raise VidLLMError(f"{directory}: {stored} {tuple(tensor.shape)} does not fit the model")
        with torch.no_grad():
            if stored.endswith(DIFFERENCE):
                known[name].add_(decode(tensor, tensors[name + STEP]))
            elif stored.endswith(ROUNDED):
                known[name].copy_(decode(tensor, tensors[name + STEP]))
            else:
                known[name].copy_(tensor)


def assemble(
    config: VidLLMConfig, language_model: PreTrainedModel, encoder: Path | None, *, seed: int = 0
) -> VidLLMForConditionalGeneration:
    """Build a model around a loaded language model and, if given, loaded encoder weights.

    Everything else is initialised from ``seed``.
    """
    _add_special_tokens(language_model, config)
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(config)
    model.language_model = nn.Identity()  # takes no memory while the rest is initialised
    model.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        initialise_all(model)
    model.language_model = language_model
    if encoder is not None:
        model.vision_encoder.backbone = AutoModel.from_pretrained(
            encoder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
        )
    return model.eval()


def _add_special_tokens(language_model: PreTrainedModel, config: VidLLMConfig) -> None:
    """Grow the vocabulary."""
    vocabulary = language_model.config.vocab_size
    if vocabulary == config.text_config.vocab_size:
        return
    if vocabulary + len(SPECIAL_TOKENS) != config.text_config.vocab_size:
        raise VidLLMError(
            f"the language model has {vocabulary} tokens, "
            f"the config expects {config.text_config.vocab_size - len(SPECIAL_TOKENS)}"
        )
    language_model.resize_token_embeddings(config.text_config.vocab_size, mean_resizing=False)
    for table in {language_model.get_input_embeddings(), language_model.get_output_embeddings()}:
        with torch.no_grad():
            table.weight[vocabulary:] = special_token_rows(table.weight[:vocabulary])
