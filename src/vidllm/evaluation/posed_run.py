"""Geometry of posed RGB-D sequences (7-Scenes, TUM RGB-D): a model put to some frames of each.

Frames are evenly spread over a sequence, the first and the last included. The truth is brought to
the pixels that the model sees: each takes the nearest depth of the file, never a mean over an edge.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Float

from vidllm.data.posed_rgbd import Layout, PosedSequence, read_sequences
from vidllm.evaluation.asking import count_tokens, timed
from vidllm.evaluation.curves import scene_curves
from vidllm.evaluation.frames import seven_scenes_cameras, tum_cameras
from vidllm.evaluation.geometry import TrueGeometry, score_geometry
from vidllm.evaluation.runner import Progress, Run, RunRequest, SceneResult, describe, run_scenes
from vidllm.inference.concatenated import AnyPipeline
from vidllm.inference.scene import Scene
from vidllm.rooms.augmentation import choose_frames
from vidllm.types import UsageError, VidLLMError

_CAMERAS = {"seven-scenes": seven_scenes_cameras, "tum": tum_cameras}


@dataclass(frozen=True, kw_only=True)
class PosedSettings:
    """What may differ between runs."""

    seed: int = 0
    """Draws the frames that set the scale."""


def run_posed(
    pipeline: AnyPipeline,
    request: RunRequest,
    layout: Layout,
    progress: Progress = lambda scene, done, total: None,
) -> Run:
    """Examine the sequences of a directory (see `vidllm.evaluation.runner`).

    Raises:
        UsageError: There is no sequence; the folder holds another run.
        VidLLMError: No sequence could be examined; files cannot be written.
    """
    sequences = {s.name: s for s in read_sequences(request.data, layout)[: request.limit]}
    num_frames = request.num_frames or pipeline.processor.num_frames

    def one(name: str) -> SceneResult:
        return examine_sequence(pipeline, sequences[name], num_frames, request.settings.seed)

    about = describe(pipeline, request, layout)
    return run_scenes(list(sequences), one, about=about, out=request.out, progress=progress)


def examine_sequence(
    pipeline: AnyPipeline, sequence: PosedSequence, num_frames: int, seed: int = 0
) -> SceneResult:
    """Reconstruct some frames of a sequence and compare them with its depth and poses.

    Raises:
        UsageError: It has fewer than two frames, or a pose is not rigid.
        VidLLMError: Files are damaged, or the prediction is not finite.
    """
    if len(sequence) < 2:
        raise UsageError(f"{sequence.name}: a trajectory needs at least 2 frames")
    positions = choose_frames(len(sequence), num_frames).tolist()
    start = perf_counter()
    frames = sequence.frames(positions)
    truth = true_geometry(sequence, positions, pipeline)
    seconds = {"read": perf_counter() - start}
    scene = pipeline(frames, seed=seed)
    seconds["encode"] = scene.seconds["sample"] + scene.seconds["encode"]
    return finish(scene, truth, [], seconds)


def finish(
    scene: Scene, truth: TrueGeometry, predictions: list[dict], seconds: dict[str, float]
) -> SceneResult:
    """What came of a scene, once all is asked and only its geometry is left to compare.

    Raises:
        VidLLMError: The prediction has other pixels than the truth.
    """
    if scene.reconstruction.depth.shape != truth.depth.shape:
        raise VidLLMError(
            f"predicted depth is {list(scene.reconstruction.depth.shape)}, the truth "
            f"{list(truth.depth.shape)}: the model cuts its frames in another way"
        )
    with timed("geometry", scene, seconds):
        geometry, problems = score_geometry(scene.reconstruction, truth)
    return SceneResult(
        predictions=predictions,
        geometry=geometry,
        problems=problems,
        seconds=seconds,
        tokens=count_tokens(scene, predictions),
        curves=scene_curves(scene.reconstruction, truth),
    )


def true_geometry(
    sequence: PosedSequence, positions: list[int], pipeline: AnyPipeline
) -> TrueGeometry:
    """Depth and cameras of some frames at the model's pixels, in the benchmark's world."""
    raw = sequence.depth(positions)
    return at_model_pixels(
        raw,
        _CAMERAS[sequence.layout](sequence.poses[positions]),
        pipeline,
        color_size=(raw.shape[1], raw.shape[2]),
        intrinsics=sequence.intrinsics,
    )


def at_model_pixels(
    raw: Float[np.ndarray, "S H W"],
    cameras: Float[np.ndarray, "S 4 4"],
    pipeline: AnyPipeline,
    *,
    color_size: tuple[int, int],
    intrinsics: Float[np.ndarray, "3 3"],
    depth_intrinsics: Float[np.ndarray, "3 3"] | None = None,
) -> TrueGeometry:
    """Depth and cameras of frames, at the pixels that the model makes of their colour images.

    Args:
        raw: Depth as the file has it, metres; 0 where unknown.
        cameras: Camera-to-benchmark.
        pipeline: The model, for how it cuts them.
        color_size: Height and width of the colour images.
        intrinsics: Of the colour images.
        depth_intrinsics: Of ``raw``, where it has its own.
    """
    size, to_model = pipeline.model_from_image(color_size)
    of_model = to_model @ intrinsics
    if depth_intrinsics is not None:
        to_model = of_model @ np.linalg.inv(depth_intrinsics)
    return TrueGeometry(
        depth=nearest_pixels(raw, to_model, size),
        extrinsics=np.linalg.inv(cameras)[:, :3],
        intrinsics=np.repeat(of_model[None], len(raw), axis=0),
    )


def nearest_pixels(
    maps: Float[np.ndarray, "S H W"], to_model: Float[np.ndarray, "3 3"], size: tuple[int, int]
) -> Float[np.ndarray, "S h w"]:
    """Maps at other pixels, each the nearest of the file's.

    Args:
        maps: Such as depth.
        to_model: Pixel coordinates of the file to the model's: a scale and a shift.
        size: Rows and columns of the model's frames.
    """
    indices = []
    for axis, (count, stored) in enumerate(zip(size[::-1], maps.shape[:0:-1], strict=True)):
        place = (np.arange(count) - to_model[axis, 2]) / to_model[axis, axis]
        indices.append(np.floor(place + 0.5).astype(int).clip(0, stored - 1))
    columns, rows = indices
    return maps[:, rows[:, None], columns]
