"""Named trainings: plain functions that return a `TrainConfig`."""

from dataclasses import replace
from functools import partial

from vidllm.rooms.augmentation import CameraDefects
from vidllm.training.config import LoraConfig, LossWeights, StageConfig, TrainConfig, TurnMix

ENCODER_BLOCK = "vision_encoder.backbone.encoder.layer."
UPPER_ENCODER = {f"{ENCODER_BLOCK}{block}.": 0.3 for block in range(6, 12)} | {
    "vision_encoder.backbone.layernorm": 0.3
}
EYES = UPPER_ENCODER | {"cross_task_adapter": 1.0, "word_anchors": 1.0}
CATEGORY_BLOCKS = {"category_encoder.network._blocks": 0.5}
SPEECH = dict.fromkeys(("patch_3d", "word_anchors", "grounding_head", "language_model"), 1.0)
RECONSTRUCTION = {
    "global_frame_attention": 1.0,
    "camera_head": 1.0,
    "dense_head": 1.0,
    "metric_depth_head": 1.0,
}
REAL_CAMERAS = CameraDefects(balance=0.08, gamma=0.4, blur=1.0, noise=0.03)
GOOD_CAMERAS = CameraDefects(balance=0.05, gamma=0.1, blur=0.6, noise=0.02)
"""That leave colours what they are called."""
TINY_RECONSTRUCTION = RECONSTRUCTION | {"point_head": 1.0}


def tiny_cpu() -> TrainConfig:
    """Hours on two cores; ``--steps`` makes it longer or shorter.

    A joint second stage does not fit a CPU. It is cut at the one-way gradient: first the
    reconstruction, then the language side on predicted geometry, which is computed once: answers,
    and boxes, which need a language model that already listens. Only the upper half of the encoder
    learns. *words* sees few frames of many scenes in an update, as those of one are much alike, and
    teaches the category encoder depth too, which the metric head then reads.
    """
    distill = StageConfig(
        name="distill",
        losses=LossWeights(distillation=1.0, words=1.0, metric_depth=5.0),
        trained=EYES | {"metric_depth_head": 1.0},
        steps=1500,
        num_frames=6,
        learning_rate=3e-4,
        turns=TurnMix(qa=0, situated_qa=0, vsi=0, referring=0, multi_referring=0, captions=0),
    )
    match, reconstruct, depth = _geometric_stages(distill)
    words = replace(
        match,
        name="words",
        losses=LossWeights(words=1.0, metric_depth=5.0, votes=1.0),
        trained=CATEGORY_BLOCKS
        | dict.fromkeys(("word_anchors", "metric_depth_head.correction", "box_votes"), 1.0),
        steps=1500,
        scenes=8,
        num_frames=3,
        given="none",
        augmentation=replace(distill.augmentation, least_zoom=0.6, defects=GOOD_CAMERAS),
    )
    stages = distill, match, reconstruct, words, depth, *_spoken_stages()
    return TrainConfig(name="tiny_cpu", stages=stages, ema=0.99)


def _geometric_stages(distill: StageConfig) -> tuple[StageConfig, StageConfig, StageConfig]:
    """Matches, the whole reconstruction, then metric depth, on an encoder that stands still.

    Without the attention the metric head sees more scenes for the same minutes. It is told the
    lens, so pictures are cut to less than half, as if seen through a longer one: such close views
    are rare in Rooms and common in real clips, whose cameras' defects are added too.
    """
    match = replace(
        distill,
        name="match",
        losses=LossWeights(matching=1.0),
        trained={"patch_matcher": 1.0},
        steps=2000,
        num_frames=12,
        learning_rate=1e-3,
        given="encoder",
        augmentation=replace(distill.augmentation, least_span=0.4),
    )
    reconstruct = replace(
        match,
        name="reconstruct",
        losses=LossWeights(reconstruction=1.0, metric_depth=1.0),
        trained=TINY_RECONSTRUCTION,
        steps=330,
        num_frames=8,
        learning_rate=5e-4,
        given="none",
    )
    depth = replace(
        match,
        name="depth",
        losses=LossWeights(metric_depth=1.0),
        trained={"metric_depth_head": 1.0},
        learning_rate=7e-4,
        augmentation=replace(match.augmentation, least_zoom=0.45, defects=REAL_CAMERAS),
    )
    return match, reconstruct, depth


LOOKED_UP = "color", "is_color", "existence", "count"
"""Types of question whose answers stand in the words that the language model is shown."""


def _spoken_stages() -> tuple[StageConfig, ...]:
    """Looking up, all answers, the same on the model's own words, boxes too, then these alone.

    On geometry that is computed once. Where words and places are true, it pays to read them; where
    they are the model's own, answers learn to allow for its errors.
    """
    language = StageConfig(
        name="language",
        losses=LossWeights(language=1.0),
        trained={"patch_3d": 1.0, "language_model": 1.0},
        steps=1200,
        num_frames=12,
        learning_rate=4e-4,
        lora=LoraConfig(),
        turns=TurnMix(qa=24, situated_qa=6, vsi=2, referring=0, multi_referring=0, captions=1),
        given="geometry",
        true_geometry=0.5,
        true_words=0.7,
        exchanged_colors=0.5,
        questions_per_type=4,
    )
    turns = replace(language.turns, types=LOOKED_UP)
    lookup = replace(language, name="lookup", steps=800, turns=turns, questions_per_type=8)
    language = replace(language, turns=replace(language.turns, often=LOOKED_UP))
    own = replace(
        language,
        name="own",
        turns=replace(language.turns, qa=20, situated_qa=8, vsi=6),
        steps=2000,
        true_words=0.2,
    )
    boxes = replace(
        own,
        name="boxes",
        losses=LossWeights(language=1.0, grounding=0.5),
        trained=language.trained | {"grounding_head": 1.0},
        turns=replace(language.turns, qa=10, situated_qa=3, referring=12, multi_referring=4),
        exchanged_colors=0.0,
    )
    pointing = replace(
        boxes,
        name="pointing",
        losses=LossWeights(grounding=1.0),
        trained={"grounding_head": 1.0},
        turns=TurnMix(qa=0, situated_qa=0, vsi=0, referring=16, multi_referring=6, captions=0),
    )
    return lookup, language, own, boxes, pointing


def tiny_gpu() -> TrainConfig:
    """Minutes on one GPU: the shipped default's recipe, the paper's two stages with two between.

    *reconstruct* is the second stage without language: cameras need the most updates, and without
    a language model these cost a third. It draws frames from parts of a clip, as near cameras are
    easier to relate. In *joint*, what was trained before moves slowly and starts slowly, or the
    first gradients of language undo it; patches stand where they truly are, as cameras from matches
    take a second of a CPU for every scene. The lower half of the encoder, which the patch matcher
    reads, stays as shipped.
    """
    first, match, *_ = tiny_cpu().stages
    distill = replace(
        first,
        losses=replace(first.losses, votes=1.0),
        trained=first.trained | CATEGORY_BLOCKS | {"box_votes": 1.0},
        steps=600,
        scenes=24,
        num_frames=8,
        learning_rate=5e-4,
    )
    reconstruct = replace(
        distill,
        name="reconstruct",
        losses=LossWeights(reconstruction=1.0, metric_depth=1.0, words=1.0, votes=1.0),
        trained=distill.trained | TINY_RECONSTRUCTION,
        steps=1200,
        learning_rate=8e-4,
        augmentation=replace(first.augmentation, least_span=0.25),
    )
    joint = replace(
        reconstruct,
        name="joint",
        losses=replace(reconstruct.losses, language=1.0, grounding=0.5, words=0.5, votes=0.5),
        trained={name: 0.3 * rate for name, rate in reconstruct.trained.items()} | SPEECH,
        steps=1200,
        warmup=0.1,
        augmentation=replace(first.augmentation, least_span=0.6),
        lora=LoraConfig(),
        turns=TurnMix(qa=8, situated_qa=3, vsi=2, referring=3, multi_referring=1, captions=1),
        true_geometry=1.0,
        true_words=0.5,
        questions_per_type=4,
    )
    match = replace(match, steps=300, scenes=24, num_frames=8, learning_rate=2e-3, given="none")
    stages = distill, match, reconstruct, joint
    return TrainConfig(name="tiny_gpu", stages=stages, ema=0.998, checkpoint_minutes=2.0)


def blind(recipe: str, stage: str) -> TrainConfig:
    """The baseline of a recipe: the same language model, questions and pace, but no video.

    Frames are small, as they only tell which questions the video would answer.

    Args:
        recipe: Its name.
        stage: Where that learns to answer.
    """
    seeing = TRAININGS[recipe]()
    spoken = next(each for each in seeing.stages if each.name == stage)
    language = replace(
        spoken,
        name="language",
        losses=LossWeights(language=1.0),
        trained={"language_model": 1.0},
        given="none",
        true_geometry=1.0,
        exchanged_colors=0.0,
    )
    return replace(seeing, name=f"{recipe}_blind", stages=(language,), blind=True, short_side=56)


def paper_stage1() -> TrainConfig:
    """The paper's first stage at full size, for 8 GPUs: DINOv2 and adapter against VGGT and CLIP.

    The paper gives optimizer, frames and clipping; learning rate, batch and steps are ours.
    """
    stage = StageConfig(
        name="distill",
        losses=LossWeights(distillation=1.0),
        trained={"vision_encoder": 0.1, "cross_task_adapter": 1.0},
        steps=20000,
        accumulate=16,
        num_frames=32,
        learning_rate=1e-4,
    )
    return TrainConfig(
        name="paper_stage1",
        model="paper",
        stages=(stage,),
        geometry_teacher="vggt:vggt-1b/model.safetensors",
        semantic_teacher="clip:openai/clip-vit-large-patch14-336",
        recompute=True,
    )


def paper_stage2() -> TrainConfig:
    """The paper's second stage at full size, for 8 GPUs; start it with ``--init`` of the first."""
    stage = StageConfig(
        name="joint",
        losses=LossWeights(reconstruction=1.0, metric_depth=1.0, language=1.0, grounding=1.0),
        trained={"cross_task_adapter": 1.0, "patch_3d": 1.0, "grounding_head": 10.0}
        | RECONSTRUCTION
        | {"language_model": 1.0},
        steps=30000,
        accumulate=16,
        num_frames=32,
        learning_rate=1e-5,
    )
    return TrainConfig(name="paper_stage2", model="paper", stages=(stage,), recompute=True)


ABLATIONS = {
    "base": (False, False, False),
    "cta": (True, False, False),
    "metric_depth": (True, True, False),
    "two_stage": (True, True, True),
}
"""Rows of the paper's ablation: bridge tokens of the adapter, metric depth, first stage."""


def ablation(name: str) -> TrainConfig:
    """A row of the paper's ablation at `tiny`'s size: minutes on a CPU, with few small frames.

    Without bridge tokens the streams do not meet; without metric depth relative units pass for
    metres. All rows compute as much: where there is a first stage, an update of which takes a
    tenth of a joint one, the joint stage is shorter. Cameras are the head's, as in the paper.
    """
    bridge, metric_depth, two_stage = ABLATIONS[name]
    distill, *_, language = tiny_cpu().stages
    losses = LossWeights(distillation=1.0, words=1.0)
    pace = {"steps": 100, "num_frames": 3, "learning_rate": 1e-3}
    distill = replace(distill, losses=losses, trained=EYES, **pace)
    geometry = set(RECONSTRUCTION) - (set() if metric_depth else {"metric_depth_head"})
    joint = replace(
        language,
        name="joint",
        losses=LossWeights(
            reconstruction=1.0,
            metric_depth=float(metric_depth),
            language=1.0,
            grounding=0.5,
            words=0.5,
        ),
        trained=distill.trained | language.trained | dict.fromkeys(sorted(geometry), 1.0),
        steps=70 if two_stage else 80,
        num_frames=3,
        learning_rate=1e-3,
        turns=TurnMix(qa=6, situated_qa=2, vsi=0, referring=2, multi_referring=0, captions=0),
        given="none",
        true_geometry=0.0,
        true_words=0.0,
        questions_per_type=None,
    )
    return TrainConfig(
        name=f"ablation_{name}",
        model_options={
            "adapter": {"mixing": "bridge" if bridge else "none"},
            "patch_3d": {"num_frequencies": 6, "max_tokens": 64},
            "metric_scale": metric_depth,
            "patch_matcher": None,
            "box_votes": None,
            "point_head": False,
        },
        stages=(distill, joint) if two_stage else (joint,),
        short_side=84,
    )


TRAININGS = {
    "tiny_cpu": tiny_cpu,
    "tiny_cpu_blind": partial(blind, "tiny_cpu", "own"),
    "tiny_gpu": tiny_gpu,
    "tiny_gpu_blind": partial(blind, "tiny_gpu", "joint"),
    "paper_stage1": paper_stage1,
    "paper_stage2": paper_stage2,
} | {f"ablation_{name}": partial(ablation, name) for name in ABLATIONS}
"""Names that ``vidllm train --recipe`` accepts."""
