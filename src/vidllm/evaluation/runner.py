"""A model put to the scenes of a Rooms data set, one by one, from where the run stands.

A run is a folder: ``run.json`` says what was asked of whom, ``predictions.jsonl`` has a line a
question, ``scenes.jsonl`` a line a scene, written once the scene is complete (or has failed, with
the error; failed scenes are tried again by the next run).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from vidllm.evaluation.rooms import RoomsSettings, examine, sample_settings
from vidllm.inference.pipeline import Pipeline
from vidllm.rooms.archive import Archive
from vidllm.types import UsageError, VidLLMError

RUN_FILE, PREDICTIONS_FILE, SCENES_FILE = "run.json", "predictions.jsonl", "scenes.jsonl"
Progress = Callable[[str, int, int], None]
"""Gets a scene's name before it is examined, and how many of how many are done."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to run."""

    data: Path
    """A Rooms data set."""
    out: Path
    """Folder of the run; made if needed."""
    settings: RoomsSettings
    limit: int | None = None
    """Only the first so many scenes."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit must be at least 1, got {self.limit}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's folder holds; plain records, as its files have them."""

    about: dict
    """Of ``run.json``."""
    scenes: list[dict]
    """Complete scenes: ``scene_id``, ``geometry``, ``problems``, ``seconds``."""
    failures: list[dict]
    """``scene_id`` and ``error``."""
    predictions: list[dict]
    """Of complete scenes."""


def run_rooms(
    pipeline: Pipeline, request: RunRequest, progress: Progress = lambda scene, done, total: None
) -> Run:
    """Examine every scene that is not complete yet, and return all that were wanted.

    Raises:
        UsageError: The folder holds a run of another model, data set or settings; or the model's
            frames do not fit Rooms.
        VidLLMError: No scene could be examined; files cannot be written.
    """
    archive = Archive(request.data)
    wanted = archive.scene_ids[: request.limit]
    if not wanted:
        raise UsageError(f"no complete scene in {request.data}: run `vidllm rooms generate`")
    sample_settings(pipeline.processor)  # refuses models that do not fit
    about = _about(pipeline, request)
    try:
        done = {scene["scene_id"] for scene in _resume(request.out, about)}
        for scene_id in (name for name in wanted if name not in done):
            progress(scene_id, len(done), len(wanted))
            _examine_into(pipeline, archive, scene_id, request)
            done.add(scene_id)
    except OSError as error:
        raise VidLLMError(f"cannot write {request.out}: {error.strerror or error}") from error
    run = read_run(request.out, scenes=set(wanted))
    if not run.scenes:
        first = run.failures[0]
        raise VidLLMError(
            f"none of {len(wanted)} scenes could be examined ({first['scene_id']}: "
            f"{first['error']}); see {request.out / SCENES_FILE}"
        )
    return run


def read_run(directory: Path, scenes: set[str] | None = None) -> Run:
    """Read a run's folder.

    Args:
        directory: Written by `run_rooms`.
        scenes: Only these.

    Raises:
        UsageError: It holds no run.
    """
    try:
        about = json.loads((directory / RUN_FILE).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{directory} holds no run: give the --out of a `vidllm eval run`"
        ) from error
    lines = [
        line
        for line in _lines(directory / SCENES_FILE)
        if scenes is None or line["scene_id"] in scenes
    ]
    complete = {line["scene_id"]: line for line in lines if "error" not in line}
    kept = (line for line in _lines(directory / PREDICTIONS_FILE) if line["scene_id"] in complete)
    return Run(
        about=about,
        scenes=list(complete.values()),
        failures=[line for line in lines if "error" in line],
        predictions=list(kept),
    )


def _examine_into(pipeline: Pipeline, archive: Archive, scene_id: str, request: RunRequest) -> None:
    """One scene, into the files; errors become its line."""
    predictions = ""
    try:
        result = examine(pipeline, archive.scene(scene_id), request.settings)
        lines = [json.dumps(record, allow_nan=False) for record in result.predictions]
        predictions = "".join(line + "\n" for line in lines)
        record = {name: value for name, value in asdict(result).items() if name != "predictions"}
        record["num_predictions"] = len(lines)
    except (VidLLMError, ValueError, RuntimeError, KeyError) as error:
        record = {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
    with (request.out / PREDICTIONS_FILE).open("a") as file:
        file.write(predictions)
    with (request.out / SCENES_FILE).open("a") as file:
        file.write(json.dumps({"scene_id": scene_id} | record) + "\n")


def _resume(out: Path, about: dict) -> list[dict]:
    """Complete scenes of the folder, after taking away what belongs to others."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / RUN_FILE).exists():
        if any((out / name).exists() for name in (PREDICTIONS_FILE, SCENES_FILE)):
            raise UsageError(f"{out} has predictions but no {RUN_FILE}: choose another folder")
        _write(out / RUN_FILE, json.dumps(about, indent=2) + "\n")
    run = read_run(out)
    for name, value in about.items():
        if run.about.get(name) != value:
            raise UsageError(
                f"{out} holds a run with another {name} ({run.about.get(name)}, now {value}): "
                "choose another folder, or remove it"
            )
    for name, records in ((PREDICTIONS_FILE, run.predictions), (SCENES_FILE, run.scenes)):
        _write(out / name, "".join(json.dumps(record) + "\n" for record in records))
    return run.scenes


def _about(pipeline: Pipeline, request: RunRequest) -> dict:
    """What may not change within a run."""
    return {
        "model": pipeline.name,
        "trained": pipeline.trained,
        "weights": fingerprint(pipeline.model),
        "num_frames": pipeline.processor.num_frames,
        "short_side": pipeline.processor.short_side,
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "data": str(request.data),
        **asdict(request.settings),
    }


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """Tells one state of the weights from another by 64 values of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.flatten()
        values = flat[:: max(1, len(flat) // 64)].float().cpu().numpy()
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()[:16]


def _lines(file: Path) -> Iterator[dict]:
    """Records of a JSON lines file; a line that was cut off is left out."""
    if not file.exists():
        return
    for line in file.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.writing")
    beside.write_text(text)
    os.replace(beside, file)
