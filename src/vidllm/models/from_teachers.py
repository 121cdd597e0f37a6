"""A Vid-LLM that starts from its teachers: VGGT's geometry and LLaVA-3D's language.

Every tensor of both teachers is either taken or left, and every tensor of the model either taken or
initialised, by the beginning of its name; anything else is an error. Weights pass through a shard
at a time, so that 7 billion parameters need a few gigabytes.

===============================  =====================================================
Vid-LLM                          from
===============================  =====================================================
``vision_encoder``               VGGT's encoder
``global_frame_attention``       VGGT's alternating attention
``camera_head``, ``dense_head``  VGGT's camera and depth heads
``language_model``               LLaVA-3D's; a row for each added token
``patch_3d.projector``           LLaVA-3D's
all else                         `vidllm.models.initialisation`
===============================  =====================================================

Left behind are VGGT's point and track heads (points come from depth), LLaVA-3D's CLIP (stage 1's
semantic teacher, not a part of the model) and its position embeddings, which have a norm that the
paper's have not. With the adapter as it is initialised the tokens that reach the attention are
those of VGGT; only the bridge tokens are new to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vidllm.models.config import SPECIAL_TOKENS, VidLLMConfig
from vidllm.models.convert import (
    MAX_SHARD_BYTES,
    OpenedWeights,
    new_folder,
    open_weights,
    refuse_taken,
)
from vidllm.models.initialisation import initialise, special_token_rows
from vidllm.models.llava_3d import LLaVA3DConfig
from vidllm.models.llava_3d_processor import SYSTEM
from vidllm.models.official_weights import check_weights
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.public_models import read_tokenizer
from vidllm.models.vggt import VGGTConfig
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.models.weight_files import sha256_of, write_shards
from vidllm.types import VidLLMError

TAKEN = {
    "vggt": {
        "encoder.": "vision_encoder.",
        "global_frame_attention.": "global_frame_attention.",
        "camera_head.": "camera_head.",
        "depth_head.": "dense_head.",
    },
    "llava-3d": {"language_model.": "language_model.", "projector.": "patch_3d.projector."},
}
"""Beginnings of the teachers' names, and what stands for them in ours."""
LEFT = {
    "vggt": ("point_head.",),
    "llava-3d": ("vision_encoder.", "position_embedding.", "place_embedding."),
}
"""Beginnings of the names that are not taken."""
INITIALISED = (
    *("cross_task_adapter", "metric_depth_head", "grounding_head"),
    *("patch_3d.position_embedding", "patch_3d.size_embedding", "patch_3d.norm"),
)
"""Modules that no teacher has."""
_VOCABULARY = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
CHAT_TEMPLATE = (
    "{{ bos_token or '' }}" + SYSTEM + "{% for m in messages %}"
    "{% if m['role'] == 'user' %} USER: {{ m['content'] }}"
    "{% else %} ASSISTANT: {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
"""LLaVA's ``v1`` conversation, for tokenizers that come without a template."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What was written."""

    destination: str
    dtype: str
    tensors: int
    parameters: int
    taken: dict[str, int]
    """Tensors from each teacher."""
    initialised: list[str]
    """Names of the tensors that no teacher has."""
    left: dict[str, list[str]]
    """Names of each teacher's tensors that were not taken."""
    source_sha256: dict[str, str]
    sha256: dict[str, str]
    """Of each weight file written."""


def init_from_teachers(
    vggt: str | Path,
    llava_3d: str | Path,
    destination: str | Path,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    seed: int = 0,
) -> Start:
    """Write a model for `vidllm train --init` or `Pipeline.from_pretrained`.

    Args:
        vggt: Weight file or folder, official or converted.
        llava_3d: The same, with the tokenizer beside the weights.
        destination: Folder to make; it must not exist, or be empty.
        dtype: Of the result; float32 holds every value of both.
        max_shard_bytes: Size of a file of weights.
        seed: Of what is initialised.

    Raises:
        UsageError: There are no weights at a source, or the destination is taken.
        VidLLMError: A file is damaged, is of another model, or the two do not go together.
    """
    refuse_taken(Path(destination))
    sources = {"vggt": vggt, "llava-3d": llava_3d}
    opened = {kind: open_weights(kind, path, dtype=dtype) for kind, path in sources.items()}
    geometry, language = (weights.config for weights in opened.values())
    config = config_of_teachers(VGGTConfig(**geometry), LLaVA3DConfig(**language))
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(config)
    taken = account_for(model.state_dict(), {kind: o.own for kind, o in opened.items()})
    processor = _processor(config, Path(llava_3d))
    fresh = initialised_weights(model, seed=seed)
    config.dtype = dtype
    with new_folder(Path(destination)) as folder:
        groups = _all_weights(opened, fresh, getattr(torch, dtype))
        written = write_shards(groups, folder, max_bytes=max_shard_bytes)
        config.save_pretrained(folder)
        processor.save_pretrained(folder)
    return Start(
        destination=str(destination),
        dtype=dtype,
        tensors=len(model.state_dict()),
        parameters=sum(p.numel() for p in model.parameters()),
        taken={kind: len(names) for kind, names in taken.items()},
        initialised=sorted(fresh),
        left={k: [*sorted({*o.own} - {*taken[k]}), *o.unused] for k, o in opened.items()},
        source_sha256=_digests(opened),
        sha256=written,
    )


def config_of_teachers(vggt: VGGTConfig, llava_3d: LLaVA3DConfig, **changes) -> VidLLMConfig:
    """The Vid-LLM whose parts have the teachers' shapes; at full size that of the paper.

    Args:
        vggt: Of the geometry.
        llava_3d: Of the language side.
        **changes: Other fields of the configuration.
    """
    language = llava_3d.language_config()
    language.vocab_size += len(SPECIAL_TOKENS)
    channels = {"features": vggt.features, "out_channels": tuple(vggt.out_channels)}
    fields = {
        "vision_config": vggt.encoder_config(),
        "text_config": language,
        "global_frame_attention": {
            "depth": vggt.depth,
            "num_heads": vggt.num_heads,
            "num_register_tokens": vggt.num_register_tokens,
        },
        "camera_head": {"num_heads": vggt.camera_heads, "trunk_depth": vggt.camera_trunk_depth},
        "dense_head": channels | {"layers": tuple(vggt.layers)},
        "metric_depth": channels,
        "num_frames": 32,
        "short_side": vggt.img_size,
    }
    return VidLLMConfig(**(fields | changes))


def account_for(
    model: Mapping[str, Tensor], teachers: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, dict[str, str]]:
    """Where each tensor goes; values are not looked at.

    Args:
        model: State dict of the Vid-LLM.
        teachers: State dicts of ``vggt`` and ``llava-3d``.

    Returns:
        For each teacher the names that are taken, and ours for them.

    Raises:
        VidLLMError: A tensor is neither taken nor left, neither given nor initialised, or of
            another shape.
    """
    taken = {
        kind: {n: new for n in own if (new := _renamed(kind, n))} for kind, own in teachers.items()
    }
    given = {}
    for kind, names in taken.items():
        for name, new in names.items():
            given[new] = _grown(new, teachers[kind][name])
    shapes = {n: t.shape for n, t in model.items() if not n.startswith(INITIALISED)}
    check_weights(given, shapes, "a Vid-LLM with the shapes of these teachers")
    return taken


def initialised_weights(
    model: VidLLMForConditionalGeneration, *, seed: int = 0
) -> dict[str, Tensor]:
    """Weights of the modules that no teacher has, for a model on the meta device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in INITIALISED:
            model.get_submodule(name).to_empty(device="cpu").apply(initialise)
    return {n: t.detach() for n, t in model.state_dict().items() if n.startswith(INITIALISED)}


def _renamed(kind: str, name: str) -> str | None:
    for old, new in TAKEN[kind].items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    if name.startswith(LEFT[kind]):
        return None
    raise VidLLMError(f"{kind}: {name} is neither taken nor left")


def _grown(name: str, tensor: Tensor) -> Tensor:
    """Vocabularies with a row for each added token."""
    if name not in _VOCABULARY:
        return tensor
    return torch.cat([tensor, special_token_rows(tensor)])


def _all_weights(
    opened: Mapping[str, OpenedWeights], fresh: Mapping[str, Tensor], dtype: torch.dtype
) -> Iterator[dict[str, Tensor]]:
    """The model's weights, a few at a time."""
    for kind, weights in opened.items():
        for group in weights.tensors:
            for name, tensor in group.items():
                if new := _renamed(kind, name):
                    yield {new: _grown(new, tensor)}
    for name, tensor in fresh.items():
        yield {name: tensor.to(dtype)}


def _digests(opened: Mapping[str, OpenedWeights]) -> dict[str, str]:
    """SHA-256 of every file read."""
    return {
        f"{kind}/{file.name}": sha256_of(file)
        for kind, weights in opened.items()
        for file in weights.files.files
    }


def _processor(config: VidLLMConfig, path: Path) -> VidLLMProcessor:
    """With the tokenizer that lies beside LLaVA-3D's weights."""
    tokenizer = read_tokenizer(path if path.is_dir() else path.parent)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE
    try:
        return VidLLMProcessor.from_config(config, tokenizer)
    except ValueError as error:
        raise VidLLMError(f"LLaVA-3D's tokenizer and weights differ: {error}") from error
