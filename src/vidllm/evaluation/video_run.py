"""VSI-Bench: a model put to the videos of a folder, asked every question about each.

The questions' file says which video each is about, such as ``scannet/scene0580_01.mp4``; the folder
holds them under those names. There is no geometry to compare with.
"""

from dataclasses import dataclass
from pathlib import Path

from vidllm.evaluation.asking import ask, count_tokens, timed
from vidllm.evaluation.references import Question, by_scene, read_questions
from vidllm.evaluation.runner import Progress, Run, RunRequest, SceneResult, describe, run_scenes
from vidllm.inference.concatenated import AnyPipeline
from vidllm.types import UsageError

_ANSWER_TOKENS = 12


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """What is asked."""

    references: str
    """File of questions, or a directory that holds it."""
    seed: int = 0
    """Draws the frames that set the scale."""


def run_vsibench(
    pipeline: AnyPipeline,
    request: RunRequest,
    videos: dict[str, list[Question]],
    progress: Progress = lambda scene, done, total: None,
) -> Run:
    """Examine the videos that are there (see `vidllm.evaluation.runner`).

    Args:
        pipeline: The model.
        request: Its settings are `VideoSettings`.
        videos: Questions about each (`questions_by_video`).
        progress: Told before every video.

    Raises:
        UsageError: No video that is asked about is there; the folder holds another run.
        VidLLMError: No video could be examined; files cannot be written.
    """
    settings: VideoSettings = request.settings
    wanted = [name for name in videos if (request.data / name).is_file()][: request.limit]
    if not wanted:
        raise UsageError(
            f"{request.data} has none of the {len(videos):,} videos that {settings.references} "
            f"asks about (as {next(iter(videos))})"
        )

    def one(name: str) -> SceneResult:
        return examine_video(
            pipeline, request.data / name, videos[name], request.num_frames, settings.seed
        )

    about = describe(pipeline, request, "vsibench")
    return run_scenes(wanted, one, about=about, out=request.out, progress=progress)


def questions_by_video(settings: VideoSettings) -> dict[str, list[Question]]:
    """In the order of the references.

    Raises:
        UsageError: The references are not there, or name no videos.
    """
    questions = read_questions("vsibench", Path(settings.references))
    silent = [question.id for question in questions if not question.scene_id]
    if silent:
        raise UsageError(
            f"{settings.references}: {len(silent):,} of {len(questions):,} questions (as "
            f"{silent[0]}) name no video (path, or dataset and scene_name)"
        )
    return by_scene(questions)


def examine_video(
    pipeline: AnyPipeline,
    video: Path,
    questions: list[Question],
    num_frames: int | None = None,
    seed: int = 0,
) -> SceneResult:
    """Encode a video once and ask everything about it.

    Raises:
        VidLLMError: It cannot be read, or the prediction is not finite.
    """
    seconds: dict[str, float] = {}
    scene = pipeline(video, num_frames=num_frames, seed=seed)
    seconds["read"], seconds["encode"] = scene.seconds["sample"], scene.seconds["encode"]
    with timed("questions", scene, seconds):
        texts = ask(scene, [question.text for question in questions], max_new_tokens=_ANSWER_TOKENS)
    seconds["prefix"] = scene.seconds.get("prefix", 0.0)
    predictions = [
        {
            "id": question.id,
            "scene_id": question.scene_id,
            "kind": "vsi",
            "type": question.kind,
            "question": question.text,
            "accepted": list(question.answers),
            "answer": text,
        }
        for question, text in zip(questions, texts, strict=True)
    ]
    return SceneResult(
        predictions=predictions,
        geometry={},
        problems=[],
        seconds=seconds,
        tokens=count_tokens(scene, predictions),
        curves={},
    )
