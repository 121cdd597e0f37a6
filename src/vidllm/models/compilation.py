"""torch.compile for the blocks that take most of a reconstruction's time.

Blocks are compiled one by one, not the whole model: layers of a stack share one compiled block, so
it takes half a minute instead of many. Frame and global blocks see other shapes and are compiled
apart; the second size of a video makes shapes symbolic, and later ones compile nothing.
"""

from torch import nn

from vidllm.models.global_frame_attention import GlobalFrameAttention
from vidllm.models.vision_encoder import VisionEncoder


def compile_blocks(model: nn.Module, **options) -> int:
    """Compile the encoder's and the global-frame attention's blocks in place.

    Compilation happens when they are first called. Weights, names and results stay; only rounding
    differs.

    Args:
        model: `VGGT`, a Vid-LLM or anything that holds an encoder or such an attention.
        **options: Of `torch.compile`.

    Returns:
        The number of blocks.
    """
    blocks: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, VisionEncoder):
            blocks += module.backbone.encoder.layer
        elif isinstance(module, GlobalFrameAttention):
            blocks += [*module.frame_blocks, *module.global_blocks]
    for block in blocks:
        block.compile(**options)
    return len(blocks)
