"""A model put to the scenes of a benchmark, one by one, from where the run stands.

A run is a folder: ``run.json`` says what was asked of whom, ``predictions.jsonl`` has a line a
question, ``scenes.jsonl`` a line a scene, written once the scene is complete (or has failed, with
the error; failed scenes are tried again by the next run).
"""

import hashlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidllm.inference.concatenated import AnyPipeline
from vidllm.types import UsageError, VidLLMError, first_line

RUN_FILE, PREDICTIONS_FILE, SCENES_FILE = "run.json", "predictions.jsonl", "scenes.jsonl"
Progress = Callable[[str, int, int], None]
"""Gets a scene's name before it is examined, and how many of how many are done."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to run."""

    data: Path
    """The benchmark's own files."""
    out: Path
    """Folder of the run; made if needed."""
    settings: Any
    """The benchmark's own dataclass of settings."""
    num_frames: int | None = None
    """Frames of a scene; the model's own number when left out."""
    limit: int | None = None
    """Only the first so many scenes."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit must be at least 1, got {self.limit}")
        if self.num_frames is not None and self.num_frames < 2:
            raise UsageError(f"num_frames must be at least 2, got {self.num_frames}")


@dataclass(frozen=True, kw_only=True)
class SceneResult:
    """What came of a scene; plain data, ready for JSON."""

    predictions: list[dict]
    geometry: dict[str, float]
    problems: list[str]
    """Figures that the scene's geometry leaves open, and why."""
    seconds: dict[str, float]
    """By part."""
    tokens: dict[str, int]
    """How many went into and came out of the model."""
    curves: dict
    """What plots are drawn from (`vidllm.evaluation.curves`)."""


Examine = Callable[[str], SceneResult]
"""A scene's name -> what came of it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's folder holds; plain records, as its files have them."""

    about: dict
    """Of ``run.json``."""
    scenes: list[dict]
    """Complete scenes: the parts of a `SceneResult`, ``scene_id`` and ``peak_memory_gib``."""
    failures: list[dict]
    """``scene_id`` and ``error``."""
    predictions: list[dict]
    """Of complete scenes."""


def run_scenes(
    wanted: Sequence[str],
    examine: Examine,
    *,
    about: dict,
    out: Path,
    progress: Progress = lambda scene, done, total: None,
) -> Run:
    """Examine every scene that is not complete yet, and return all that were wanted.

    Args:
        wanted: Names of scenes.
        examine: Does one.
        about: What may not change within a run (`describe`).
        out: Folder of the run.
        progress: Told before every scene.

    Raises:
        UsageError: The folder holds a run of another model, data set or settings.
        VidLLMError: No scene could be examined; files cannot be written.
    """
    try:
        done = {scene["scene_id"] for scene in _resume(out, about)}
        for scene_id in (name for name in wanted if name not in done):
            progress(scene_id, len(done), len(wanted))
            _examine_into(out, scene_id, examine)
            done.add(scene_id)
    except OSError as error:
        raise VidLLMError(f"cannot write {out}: {error.strerror or error}") from error
    run = read_run(out, scenes=set(wanted))
    if not run.scenes:
        first = run.failures[0]
        raise VidLLMError(
            f"none of {len(wanted)} scenes could be examined ({first['scene_id']}: "
            f"{first['error']}); see {out / SCENES_FILE}"
        )
    return run


def read_run(directory: Path, scenes: set[str] | None = None) -> Run:
    """Read a run's folder.

    Args:
        directory: Written by `run_scenes`.
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


def _examine_into(out: Path, scene_id: str, examine: Examine) -> None:
    """One scene, into the files; errors become its line."""
    predictions = ""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        result = examine(scene_id)
        lines = [json.dumps(record, allow_nan=False) for record in result.predictions]
        predictions = "".join(line + "\n" for line in lines)
        record = {name: value for name, value in asdict(result).items() if name != "predictions"}
        record |= {"num_predictions": len(lines), "peak_memory_gib": _peak_memory()}
    except (VidLLMError, ValueError, RuntimeError, KeyError) as error:
        record = {"error": first_line(error)}
    with (out / PREDICTIONS_FILE).open("a") as file:
        file.write(predictions)
    with (out / SCENES_FILE).open("a") as file:
        file.write(json.dumps({"scene_id": scene_id} | record) + "\n")


def _peak_memory() -> dict[str, float]:
    """GiB: ``process`` since it began; ``cuda`` since the scene began, where there is CUDA."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    peak = {"process": round(resident / 2**30, 3)}
    if torch.cuda.is_available():
        peak["cuda"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return peak


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


def describe(pipeline: AnyPipeline, request: RunRequest, benchmark: str) -> dict:
    """What may not change within a run."""
    return {
        "benchmark": benchmark,
        "model": pipeline.name,
        "trained": pipeline.trained,
        "weights": fingerprint(*pipeline.networks),
        "num_frames": request.num_frames or pipeline.processor.num_frames,
        "short_side": pipeline.short_side,
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "data": str(request.data),
        **asdict(request.settings),
    }


@torch.no_grad()
def fingerprint(*networks: nn.Module) -> str:
    """Tells one state of the weights from another by 64 values of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in (item for network in networks for item in network.state_dict().items()):
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
