"""Measure how fast `vidllm rooms generate` is; print it and write a dated report.

    make bench-rooms                                   # six scenes
    python benchmarks/rooms.py --scenes 20 --keyframes 12 --images jpg

Times depend on what else the machine does: the load average is printed beside them.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from vidllm.rooms.archive import Archive
from vidllm.rooms.generate import GenerateReport, SceneDone, SceneSeeds, Shot, generate
from vidllm.rooms.records import Language
from vidllm.rooms.storage import Settings
from vidllm.rooms.studio import RoomsStudio, prepare_furniture
from vidllm.rooms.world import CameraPath, ObservedScene, World

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = {
    "open": "furniture and renderer, once a process",
    "build": "room and walk",
    "film": "render and photograph",
    "store": "encode and write",
    "describe": "language",
}


class TimedStudio(RoomsStudio):
    """Appends the seconds of each part to a file."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        start = perf_counter()
        super().__init__(settings)
        self.note("open", start)

    def note(self, part: str, start: float) -> None:
        """One line; short writes in append mode do not mix between processes."""
        with self.log.open("a") as file:
            file.write(json.dumps([part, perf_counter() - start]) + "\n")

    def build(self, seeds: SceneSeeds) -> World:
        start = perf_counter()
        world = super().build(seeds)
        self.note("build", start)
        return world

    def walk(self, world: World, seeds: SceneSeeds) -> CameraPath:
        start = perf_counter()
        path = super().walk(world, seeds)
        self.note("build", start)
        return path

    def film(
        self, world: World, path: CameraPath, seeds: SceneSeeds, frames: list[int]
    ) -> Iterator[Shot]:
        shots = super().film(world, path, seeds, frames)
        while True:
            start = perf_counter()
            shot = next(shots, None)
            self.note("film", start)
            if shot is None:
                return
            yield shot

    def describe(self, scene: ObservedScene, seeds: SceneSeeds) -> Language:
        start = perf_counter()
        language = super().describe(scene, seeds)
        self.note("describe", start)
        return language


@dataclass(frozen=True)
class OpenTimed:
    """Opens a studio in a process; equal ones open it once."""

    log: Path

    def __call__(self, settings: Settings) -> TimedStudio:
        return TimedStudio(settings, self.log)


def measure(settings: Settings, scenes: int, workers: int, folder: Path) -> dict:
    """Generate into a folder and count."""
    log, made = folder / "seconds.jsonl", folder / "dataset"
    seconds: list[float] = []

    def done(scene: SceneDone, total: int) -> None:
        seconds.append(scene.seconds)
        print(f"scene {len(seconds)} of {total}: {scene.seconds:.1f} s", file=sys.stderr)

    report: GenerateReport = generate(
        made, settings, scenes=scenes, workers=workers, open_studio=OpenTimed(log), progress=done
    )
    parts: dict[str, float] = defaultdict(float)
    for line in log.read_text().splitlines():
        part, value = json.loads(line)
        parts[part] += value
    parts["store"] = sum(seconds) - sum(parts.values())
    archive = Archive(made)
    return {
        "seconds": report.seconds,
        "made": report.made,
        "failed": len(report.failed),
        "frames": sum(archive.scene(name).num_frames for name in archive.scene_ids),
        "megabytes": report.bytes / 1e6,
        "parts": {part: parts[part] / scenes for part in PARTS},
    }


def report_text(record: dict) -> str:
    """The measurements as Markdown."""
    made, measured = record["measured"]["made"], record["measured"]
    load = " -> ".join(f"{value:.1f}" for value in record["load"])
    rows = [
        ("scenes made (failed)", f"{made} ({measured['failed']})"),
        ("scenes an hour", f"{3600 * made / measured['seconds']:,.0f}"),
        ("frames a second", f"{measured['frames'] / measured['seconds']:.1f}"),
        ("frames a scene", f"{measured['frames'] / made:.0f}"),
        ("MB a scene", f"{measured['megabytes'] / made:.2f}"),
        *(
            (f"{name} ({PARTS[name]}), seconds a scene", f"{value:.2f}")
            for name, value in measured["parts"].items()
        ),
        ("load average before -> after", load),
    ]
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    lines = [f"# {record['date']}: making rooms", ""]
    lines += [f"Command: `{record['command']}`. {record['hardware']}, {record['workers']} workers."]
    lines += [f"Settings: {settings}. Parts are of one process's time.", ""]
    lines += [
        "| what | measured |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Generate, print and write ``benchmarks/DATE-rooms.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keyframes", type=int, default=None)
    parser.add_argument("--images", choices=("mp4", "jpg"), default="mp4")
    options = parser.parse_args()
    settings = Settings(images=options.images, keyframes=options.keyframes)
    prepare_furniture()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(settings, options.scenes, options.workers, Path(folder))
    arguments = [f"--scenes {options.scenes}", f"--images {options.images}"]
    arguments += [f"--keyframes {options.keyframes}"] if options.keyframes else []
    record = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/rooms.py {' '.join(arguments)}",
        "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()}), software OpenGL",
        "workers": options.workers,
        "settings": asdict(settings),
        "measured": measured,
        "load": (before, os.getloadavg()[0]),
    }
    text = report_text(record)
    print(text)
    name = f"{record['date']}-rooms{'-keyframes' if options.keyframes else ''}.md"
    path = REPOSITORY / "benchmarks" / name
    path.write_text(text)
    print(f"written to {path.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()
