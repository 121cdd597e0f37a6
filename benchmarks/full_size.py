"""What a GPU does with models of full size and random weights: VGGT-1B's attention, and the paper's
Vid-LLM from frames to answers."""

from time import perf_counter

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vidllm.inference.generation import GenerationConfig, generate, read_questions
from vidllm.models.accounting import vggt_flops
from vidllm.models.config import VidLLMConfig
from vidllm.models.initialisation import initialise_all
from vidllm.models.language_model import build_prefix
from vidllm.models.precision import store_linears_in
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.recipes import paper

PUBLISHED = {
    **{1: (0.04, 1.88), 2: (0.05, 2.07), 4: (0.07, 2.45), 8: (0.11, 3.23), 10: (0.14, 3.63)},
    **{20: (0.31, 5.58), 50: (1.04, 11.41)},
}
"""Seconds and GB of VGGT-1B's encoder and attention at 336 x 518 on one H100 with FlashAttention 3,
by frames, as its authors' README gives them."""
VGGT_SIZE = (336, 518)
PAPER_FRAMES = (1, 2, 4, 8, 16, 32)
PAPER_SIZE = (518, 686)
ANSWER_TOKENS = 64


def measure_full_size(device: torch.device, *, tiny: bool = False) -> dict:
    """Both parts; ``tiny`` has small models in their place, to see that it runs."""
    return {"vggt": measure_vggt(device, tiny), "paper": measure_paper(device, tiny)}


def best_of(run, device: torch.device, repeats: int = 3) -> tuple[float, float]:
    """Shortest wall time after a first call, and the peak of memory in bytes, weights included."""
    run()
    times = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        _wait(device)
        start = perf_counter()
        run()
        _wait(device)
        times.append(perf_counter() - start)
    return min(times), _peak(device)


def measure_vggt(device: torch.device, tiny: bool) -> list[dict]:
    """Encoder and alternating attention, what VGGT's README times."""
    config = VGGTConfig(enable_point=False)
    if tiny:
        from networks import TINY as config
    with torch.device("meta"):
        model = VGGT(config).eval().requires_grad_(False)
    model.to_empty(device=device)
    for parameter in model.parameters():
        parameter.normal_(std=0.02)
    del model.depth_head, model.camera_head
    store_linears_in(torch.bfloat16, model)
    rows = []
    for frames, published in PUBLISHED.items():
        images = torch.rand(frames, 3, *((56, 70) if tiny else VGGT_SIZE), device=device)

        @torch.no_grad()
        def run(images=images) -> None:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                tokens = model.encoder(images).patch_tokens[None]
                grid = model.encoder.grid(images.shape[-2:])
                model.global_frame_attention(tokens, grid, keep_layers=config.layers)

        seconds, peak = best_of(run, device)
        rows.append({"frames": frames, "seconds": seconds, "bytes": peak, "published": published})
    return rows


def paper_model(config: VidLLMConfig, device: torch.device) -> VidLLMForConditionalGeneration:
    """As `vidllm.inference.loading.assemble` makes it, the language model random in bfloat16."""
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(config).eval().requires_grad_(False)
        model.language_model.to(torch.bfloat16)
    language_model, model.language_model = model.language_model, nn.Identity()
    initialise_all(model.to_empty(device=device))
    for parameter in language_model.to_empty(device=device).parameters():
        parameter.normal_(std=0.02)
    language_model.model.rotary_emb = LlamaRotaryEmbedding(config.text_config).to(device)
    model.language_model = language_model
    halved = model.vision_encoder, model.cross_task_adapter, model.global_frame_attention
    store_linears_in(torch.bfloat16, *halved)
    return model


def measure_paper(device: torch.device, tiny: bool) -> dict:
    """Scenes of 1 to 32 frames, then one and four questions about the largest."""
    config, size = paper(), PAPER_SIZE
    if tiny:
        config, size = _tiny_config(), (56, 70)
    model = paper_model(config, device)
    frame_rows = []
    for frames in PAPER_FRAMES:
        images = torch.rand(1, frames, 3, *size, device=device)

        @torch.no_grad()
        def encode(images=images):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                return model.encode_scene(images)

        seconds, peak = best_of(encode, device, repeats=2)
        flops = vggt_flops(config, size, frames)
        frame_rows.append({"frames": frames, "seconds": seconds, "bytes": peak, "flops": flops})
    tokens = encode().visual_tokens[0]
    return {
        "size": size,
        "frames": frame_rows,
        "language": _measure_language(model, tokens, device),
    }


@torch.no_grad()
def _measure_language(
    model: VidLLMForConditionalGeneration, tokens: torch.Tensor, device: torch.device
) -> list[dict]:
    """Prompt, question and answer of one question, and of four at once."""
    language_model = model.language_model
    embed = language_model.get_input_embeddings()
    before = embed(torch.arange(40, device=device))
    embeddings = torch.cat([before, tokens.to(before.dtype)])[None]
    ids = torch.zeros(embeddings.shape[:2], dtype=torch.long, device=device)
    rows = []
    for questions in (1, 4):
        suffixes = [embed(torch.arange(20, device=device) + i) for i in range(questions)]
        times = {}
        for _ in range(2):  # the second time counts
            start = _now(device)
            prefix = build_prefix(language_model, ids, embeddings)
            times["prefix"] = _now(device) - start
            start = _now(device)
            turn = read_questions(language_model, prefix, suffixes)
            times["question"] = _now(device) - start
            start = _now(device)
            config = GenerationConfig(max_new_tokens=ANSWER_TOKENS)
            steps = sum(1 for _ in generate(language_model, turn, -1, config))
            times["answer"] = _now(device) - start
        rows.append(
            {"questions": questions, "prompt": ids.shape[1], "tokens": steps * questions, **times}
        )
    return rows


def _now(device: torch.device) -> float:
    _wait(device)
    return perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _peak(device: torch.device) -> float:
    return float(torch.cuda.max_memory_allocated()) if device.type == "cuda" else float("nan")


def _tiny_config() -> VidLLMConfig:
    return VidLLMConfig(
        vision_config={"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 4}
        | {"num_attention_heads": 2, "image_size": 70, "patch_size": 14},
        text_config={"model_type": "llama", "hidden_size": 48, "intermediate_size": 64}
        | {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300},
        global_frame_attention={"depth": 4},
        camera_head={"trunk_depth": 1},
        dense_head={"features": 16, "out_channels": (8, 8, 16, 16)},
        metric_depth={"features": 16, "out_channels": (8, 8, 16, 16), "hidden_dim": 16},
        patch_3d={"max_tokens": 24},
        grounding={"hidden_dim": 32, "num_heads": 4, "num_queries": 16, "neighbours": (4, 8)},
    )
