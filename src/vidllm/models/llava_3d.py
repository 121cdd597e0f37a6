"""LLaVA-3D (Zhu et al. 2024): the language side that VGGT's geometry is handed to.

CLIP patches of posed frames, a position MLP of their points added, voxel mean pooling, a projector
and a Llama. Encoder and language model are Hugging Face's classes; what is between them is written
here after LLaVA-3D's public code, and its released weights load by name
(`vidllm.models.llava_3d_weights`).

What is unusual, all of it as released:

- The point of a patch is that of its *top left* pixel (the point map is resized by nearest
  neighbour), and voxels are *centred* on multiples of their size (coordinates are rounded).
- Over the budget, voxels are drawn at random and come in the order of the draw; here by a seed.
- A place in a question is one token, embedded by an MLP of its own straight into the language
  model's width. Boxes are placed by their centre alone: there is no size.
- The grounding decoder was never released.

One deviation: coordinates enter in float32 whatever the weights' dtype. The public scripts compute
them in bfloat16, which is 2 cm coarse at 4 m.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vidllm.models.language_model import splice
from vidllm.models.precision import at_least_float32

IMAGE_TOKEN_ID = -200
"""Placeholder of a visual token in the ids of a prompt; it is in no vocabulary."""
PLACE_TOKEN_ID = -300
"""Placeholder of a place, ``<boxes>`` in the prompt's text."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
FRAMES_PER_CHUNK = 8
"""Frames that pass through the encoder together; frames are independent there, so this is exact."""

CLIP_VIT_L_14_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
"""openai/clip-vit-large-patch14-336; the rest is `CLIPVisionConfig`'s default."""
VICUNA_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Vicuna 7B v1.5, LLaVA-1.5's language model; the rest is `LlamaConfig`'s default."""


@dataclass(frozen=True, kw_only=True)
class LLaVA3DConfig:
    """Shape of a LLaVA-3D; the defaults are LLaVA-3D-7B's."""

    vision: dict = field(default_factory=CLIP_VIT_L_14_336.copy)
    """Arguments of the encoder's `CLIPVisionConfig`."""
    language: dict = field(default_factory=VICUNA_7B.copy)
    """Arguments of the language model's `LlamaConfig`."""
    vision_layer: int = -2
    """Hidden state of the encoder that is read; -2 is the last but one layer's output."""
    voxel_size: float = 0.2
    """Edge of a pooling voxel, metres."""
    max_tokens: int = 2560
    """Visual tokens at most."""
    num_frames: int = 20
    """Frames sampled from a video."""

    def vision_config(self) -> CLIPVisionConfig:
        """Hugging Face configuration of the encoder."""
        config = CLIPVisionConfig(**self.vision)
        config._attn_implementation = "sdpa"
        return config

    def language_config(self) -> LlamaConfig:
        """Hugging Face configuration of the language model."""
        config = LlamaConfig(**self.language)
        config._attn_implementation = "sdpa"
        return config


class PointEmbedding(nn.Sequential):
    """Coordinates to a vector: LLaVA-3D's position embedding and its place token."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(3, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, input: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N C"]:
        """Embed coordinates in metres; the first layer computes in float32 at least."""
        first, *others = self
        weight, bias = at_least_float32(first.weight), at_least_float32(first.bias)
        hidden = functional.linear(input.to(weight), weight, bias).to(first.weight.dtype)
        for layer in others:
            hidden = layer(hidden)
        return hidden


class LLaVA3D(nn.Module):
    """Frames, their points and a question in; hidden states of a Llama out."""

    def __init__(self, config: LLaVA3DConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LLaVA3DConfig()
        vision, language = config.vision_config(), config.language_config()
        self.vision_encoder = CLIPVisionModel(vision)
        self.position_embedding = PointEmbedding(vision.hidden_size)
        self.projector = nn.Sequential(
            nn.Linear(vision.hidden_size, language.hidden_size),
            nn.GELU(),
            nn.Linear(language.hidden_size, language.hidden_size),
        )
        self.place_embedding = PointEmbedding(language.hidden_size)
        self.language_model = LlamaForCausalLM(language)

    @property
    def patch_size(self) -> int:
        """Patch side in pixels."""
        return self.vision_encoder.config.patch_size

    def forward(
        self,
        input_ids: Int[Tensor, "L"],
        images: Float[Tensor, "S 3 H H"],
        points: Float[Tensor, "S H H 3"],
        places: Float[Tensor, "K 3"] | None = None,
        *,
        seed: int = 0,
    ) -> Float[Tensor, "M V"]:
        """Next-token logits of one prompt; see the methods for what is what.

        The single image placeholder is widened to as many as there are visual tokens, hence
        ``M``.
        """
        visual_tokens = self.encode_scene(images, points, seed=seed)
        at = int((input_ids == IMAGE_TOKEN_ID).nonzero()[0])
        widened = input_ids.new_full((len(visual_tokens),), IMAGE_TOKEN_ID)
        input_ids = torch.cat([input_ids[:at], widened, input_ids[at + 1 :]])
        embeddings = self.embed(input_ids, visual_tokens, places)
        return self.language_model(inputs_embeds=embeddings[None]).logits[0]

    def encode_scene(
        self, images: Float[Tensor, "S 3 H H"], points: Float[Tensor, "S H H 3"], *, seed: int = 0
    ) -> Float[Tensor, "M D"]:
        """Visual tokens in the language model's space.

        Args:
            images: RGB in [0, 1], squares of the encoder's size.
            points: Of every pixel, metres; z up, as LLaVA-3D was trained.
            seed: Draws the tokens where there are more than the budget.
        """
        patches = self.encode_images(images)  # [S, P, C]
        points = points[:, :: self.patch_size, :: self.patch_size].flatten(1, 2)  # [S, P, 3]
        patches = patches + self.position_embedding(points)
        tokens = pool_voxels(
            patches.flatten(0, 1),
            points.flatten(0, 1),
            voxel_size=self.config.voxel_size,
            max_tokens=self.config.max_tokens,
            seed=seed,
        )
        return self.projector(tokens)

    def encode_images(self, images: Float[Tensor, "S 3 H H"]) -> Float[Tensor, "S P C"]:
        """CLIP's patches as the layer ``vision_layer`` leaves them, without the class token.

        Layers after it are not computed.
        """
        encoder = self.vision_encoder
        depth = len(encoder.encoder.layers) + 1 + self.config.vision_layer
        weight = encoder.embeddings.patch_embedding.weight
        mean, std = weight.new_tensor([CLIP_MEAN, CLIP_STD])[..., None, None]
        patches = []
        for chunk in images.to(weight).split(FRAMES_PER_CHUNK):
            hidden = encoder.pre_layrnorm(encoder.embeddings((chunk - mean) / std))
            for layer in encoder.encoder.layers[:depth]:
                hidden = layer(hidden, None)
            patches.append(hidden[:, 1:])
        return torch.cat(patches)

    def embed_places(self, places: Float[Tensor, "K 3"]) -> Float[Tensor, "K D"]:
        """The tokens that stand for places, metres; rounded to millimetres as in training."""
        return self.place_embedding((places.float() * 1000).round() / 1000)

    def embed(
        self,
        input_ids: Int[Tensor, "L"],
        visual_tokens: Float[Tensor, "M D"] | None = None,
        places: Float[Tensor, "K 3"] | None = None,
    ) -> Float[Tensor, "L D"]:
        """Embeddings of a prompt, with visual tokens and places in their placeholders.

        Raises:
            ValueError: When the numbers of placeholders differ from those of tokens and places.
        """
        embeddings = self.language_model.get_input_embeddings()(input_ids.clamp(min=0))
        nothing = embeddings[:0]
        visual_tokens = nothing if visual_tokens is None else visual_tokens
        located = nothing if places is None else self.embed_places(places)
        for token, features, name in (
            (IMAGE_TOKEN_ID, visual_tokens, "<image>"),
            (PLACE_TOKEN_ID, located, "<boxes>"),
        ):
            placeholders = input_ids == token
            embeddings = splice(embeddings[None], placeholders[None], [features], name=name)[0]
        return embeddings

    def restore_buffers(self) -> None:
        """Compute anew, in float32, what no checkpoint holds.

        Needed after building on the meta device, and after a change of dtype: that rounds the
        frequencies of the rotary embedding too, which at bfloat16 turns far tokens by radians.
        """
        embeddings = self.vision_encoder.embeddings
        device = embeddings.class_embedding.device
        positions = torch.arange(embeddings.num_positions, device=device)
        embeddings.position_ids = positions.expand(1, -1)
        rotary = LlamaRotaryEmbedding(self.language_model.config)
        self.language_model.model.rotary_emb = rotary.to(device)


def pool_voxels(
    features: Float[Tensor, "N C"],
    points: Float[Tensor, "N 3"],
    *,
    voxel_size: float,
    max_tokens: int,
    seed: int = 0,
) -> Float[Tensor, "M C"]:
    """Mean of the features in each voxel, ordered by the voxels' x, then y, then z.

    Where more than ``max_tokens`` voxels are filled, as many are drawn at random and stay in the
    order of the draw, as in LLaVA-3D.

    Args:
        features: Averaged in float32 at least and returned in their own dtype.
        points: Where each feature is, in the unit of ``voxel_size``.
        voxel_size: Edge of a voxel; voxels are centred on its multiples.
        max_tokens: The budget.
        seed: Of the draw, alike on every device.

    Raises:
        ValueError: A point is not finite.
    """
    if not bool(points.isfinite().all()):
        raise ValueError("points must be finite to be pooled in voxels")
    coordinates = torch.round(points.float() / voxel_size).long()
    voxels, voxel = torch.unique(coordinates, dim=0, return_inverse=True)
    counts = torch.bincount(voxel, minlength=len(voxels))
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    sums = wide.new_zeros(len(voxels), features.shape[-1]).index_add(0, voxel, wide)
    pooled = (sums / counts[:, None]).to(features.dtype)
    if len(pooled) <= max_tokens:
        return pooled
    drawn = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(seed))
    return pooled[drawn[:max_tokens].to(pooled.device)]
