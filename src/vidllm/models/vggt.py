"""VGGT (Wang et al. 2025) assembled from this package's parts, able to load the released weights.

The parts are the same that Vid-LLM is built from, so what is proven equal to the official numbers
here holds there. The track head is not implemented: its weights are skipped by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Dinov2WithRegistersConfig

from vidllm.geometry.camera import decode_pose_enc, unproject
from vidllm.models.camera_head import CameraHead, CameraHeadConfig
from vidllm.models.dense_head import DenseHead, DenseHeadConfig
from vidllm.models.global_frame_attention import GlobalFrameAttention, GlobalFrameAttentionConfig
from vidllm.models.official_weights import check_weights, vggt_from_official, vggt_to_official
from vidllm.models.rope import token_positions
from vidllm.models.vision_encoder import EncoderOutput, VisionEncoder, normalize_images

OFFICIAL_ENCODERS = {
    "dinov2_vits14_reg": (384, 12, 6),
    "dinov2_vitb14_reg": (768, 12, 12),
    "dinov2_vitl14_reg": (1024, 24, 16),
    "dinov2_vitg2_reg": (1536, 40, 24),
}
"""Width, depth and heads of the encoders that the official code knows by name."""


@dataclass(frozen=True, kw_only=True)
class VGGTConfig:
    """Shape of a VGGT; the defaults are VGGT-1B's."""

    img_size: int = 518
    """Image side in pixels that the encoder's position embeddings were made for."""
    patch_size: int = 14
    """Patch side in pixels."""
    vit: str = "dinov2_vitl14_reg"
    """An official encoder's name, or ``custom`` for ``vit_depth`` and ``vit_heads`` below."""
    embed_dim: int = 1024
    """Width of the encoder and of the global-frame attention."""
    vit_depth: int | None = None
    """Blocks of a custom encoder."""
    vit_heads: int | None = None
    """Attention heads of a custom encoder."""
    depth: int = 24
    """Layers of the global-frame attention."""
    num_heads: int = 16
    """Attention heads of the global-frame attention."""
    camera_trunk_depth: int = 4
    """Blocks of the camera head."""
    camera_heads: int = 16
    """Attention heads of the camera head."""
    features: int = 256
    """Channels of the dense heads' fusion blocks."""
    out_channels: Sequence[int] = (256, 512, 1024, 1024)
    """Channels of the dense heads' four levels."""
    layers: Sequence[int] = (4, 11, 17, 23)
    """Layers that the dense heads read."""
    num_register_tokens: int = 4
    """Register tokens of the encoder and of the global-frame attention."""
    enable_point: bool = True
    """Build the point head; unprojected depth is the more accurate source of points."""

    def encoder_config(self) -> Dinov2WithRegistersConfig:
        """Hugging Face configuration of the encoder."""
        if self.vit in OFFICIAL_ENCODERS:
            width, depth, heads = OFFICIAL_ENCODERS[self.vit]
        elif self.vit == "custom" and self.vit_depth and self.vit_heads:
            width, depth, heads = self.embed_dim, self.vit_depth, self.vit_heads
        else:
            names = ", ".join(OFFICIAL_ENCODERS)
            raise ValueError(
                f"vit={self.vit!r}: use {names}, or 'custom' with vit_depth and vit_heads"
            )
        if width != self.embed_dim:
            raise ValueError(f"{self.vit} has width {width}, embed_dim is {self.embed_dim}")
        return Dinov2WithRegistersConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            image_size=self.img_size,
            patch_size=self.patch_size,
            num_register_tokens=self.num_register_tokens,
            layer_norm_eps=1e-6,
            layerscale_value=1.0,
        )

    def dense_head_config(self, value_dim: int, activation: str) -> DenseHeadConfig:
        """Configuration of the depth or the point head."""
        return DenseHeadConfig(
            in_dim=2 * self.embed_dim,
            layers=self.layers,
            out_channels=self.out_channels,
            features=self.features,
            value_dim=value_dim,
            activation=activation,
        )


class VGGT(nn.Module):
    """Images of a scene to cameras, depth and points, up to scale, in the first camera's frame."""

    def __init__(self, config: VGGTConfig | None = None):
        super().__init__()
        self.config = config = config or VGGTConfig()
        self.encoder = VisionEncoder(config.encoder_config())
        self.global_frame_attention = GlobalFrameAttention(
            GlobalFrameAttentionConfig(
                embed_dim=config.embed_dim,
                depth=config.depth,
                num_heads=config.num_heads,
                num_register_tokens=config.num_register_tokens,
            )
        )
        self.camera_head = CameraHead(
            CameraHeadConfig(
                embed_dim=2 * config.embed_dim,
                num_heads=config.camera_heads,
                trunk_depth=config.camera_trunk_depth,
            )
        )
        self.depth_head = DenseHead(config.dense_head_config(1, "exp"))
        self.point_head = None
        if config.enable_point:
            self.point_head = DenseHead(config.dense_head_config(3, "inv_log"))

    def forward(
        self, images: Float[Tensor, "*batch S 3 H W"], return_intermediates: bool = False
    ) -> dict[str, Tensor]:
        """Reconstruct a scene, or a batch of them.

        Args:
            images: RGB in [0, 1], H and W multiples of the patch size. A missing batch dimension is
                added and stays in the results.
            return_intermediates: also return ``images``, the encoder's tokens, what enters the
                global-frame attention (``tokens_in``, ``rope_pos``) and the output ``agg_XX`` of
                each of its layers; otherwise only the layers that the heads read are kept.

        Returns:
            ``pose_enc_0`` .. ``pose_enc_3`` [B, S, 9], of which the last is the result, decoded to
            ``extrinsic`` [B, S, 3, 4] and ``intrinsic`` [B, S, 3, 3]; ``depth`` [B, S, H, W, 1] and
            ``depth_conf`` [B, S, H, W]; ``world_points_from_depth`` [B, S, H, W, 3]; with a point
            head ``world_points`` [B, S, H, W, 3] and ``world_points_conf`` [B, S, H, W].
        """
        images = images.unsqueeze(0) if images.ndim == 4 else images
        batch, image_size = images.shape[:2], tuple(images.shape[-2:])
        encoded = self.encoder(images.flatten(0, 1))
        patch_tokens = encoded.patch_tokens.unflatten(0, batch)  # [B, S, P, C]
        depth = self.config.depth
        keep = range(depth) if return_intermediates else (*self.config.layers, depth - 1)
        grid = self.encoder.grid(image_size)
        layers = self.global_frame_attention(patch_tokens, grid, keep_layers=keep)
        outputs = self._read_heads(layers, grid, image_size)
        if return_intermediates:
            outputs |= self._intermediates(images, encoded, patch_tokens)
            outputs |= {f"agg_{index:02d}": tokens for index, tokens in layers.items()}
        return outputs

    def _read_heads(
        self, layers: dict[int, Tensor], grid: tuple[int, int], image_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        stages = self.camera_head(layers[self.config.depth - 1][:, :, 0])
        outputs = {f"pose_enc_{index}": stage for index, stage in enumerate(stages)}
        extrinsics, intrinsics = decode_pose_enc(stages[-1], image_size)
        read = [layers[index] for index in self.config.layers]
        depth, depth_conf = self.depth_head(read, grid, image_size)
        outputs |= {
            "extrinsic": extrinsics,
            "intrinsic": intrinsics,
            "depth": depth,
            "depth_conf": depth_conf,
            "world_points_from_depth": unproject(depth.squeeze(-1), extrinsics, intrinsics),
        }
        if self.point_head is not None:
            points, points_conf = self.point_head(read, grid, image_size)
            outputs |= {"world_points": points, "world_points_conf": points_conf}
        return outputs

    def _intermediates(
        self, images: Tensor, encoded: EncoderOutput, patch_tokens: Tensor
    ) -> dict[str, Tensor]:
        grid = self.encoder.grid(images.shape[-2:])
        num_images = images.shape[0] * images.shape[1]
        positions = token_positions(grid, self.global_frame_attention.patch_start, images.device)
        return {
            "images": images,
            "normalized_images": normalize_images(images.flatten(0, 1)),
            "dino_norm_patchtokens": encoded.patch_tokens,
            "dino_norm_clstoken": encoded.class_token,
            "dino_norm_regtokens": encoded.register_tokens,
            "tokens_in": self.global_frame_attention.assemble_tokens(patch_tokens).flatten(0, 1),
            "rope_pos": positions.expand(num_images, -1, -1),
        }

    def official_state_dict(self) -> dict[str, Tensor]:
        """All weights under the official names; `load_official_state_dict` reads them back."""
        return vggt_to_official(self.state_dict())

    def load_official_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load released weights.

        ``track_head.*`` is skipped, and ``point_head.*`` if this model has none. A model on the
        meta device takes the given tensors over, with their dtype and device; otherwise values are
        copied.

        Raises:
            VidLLMError: any other key is missing, left over or of the wrong shape; nothing is
                loaded.
        """
        skipped = ["track_head."] + ["point_head."] * (self.point_head is None)
        given = {name: t for name, t in state_dict.items() if not name.startswith(tuple(skipped))}
        own = {name: torch.empty_like(t, device="meta") for name, t in self.state_dict().items()}
        expected = {name: tensor.shape for name, tensor in vggt_to_official(own).items()}
        check_weights(given, expected, "this VGGT")
        on_meta = next(self.parameters()).is_meta
        self.load_state_dict(vggt_from_official(given), assign=on_meta)
