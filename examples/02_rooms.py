"""Contact sheets of synthetic rooms: a row of frames for each of twelve scenes.

    python examples/02_rooms.py [FOLDER]

Makes four scenes of each split, as `vidllm rooms generate` does, and writes contact-sheet-1.jpg
and contact-sheet-2.jpg, six scenes each, into docs/rooms unless told otherwise.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vidllm.rooms.archive import Archive, StoredScene
from vidllm.rooms.generate import generate
from vidllm.rooms.preview import contact_sheet
from vidllm.rooms.storage import Settings
from vidllm.rooms.studio import open_rooms_studio

REPOSITORY = Path(__file__).resolve().parents[1]
SPLITS = ("train", "test-seen", "test-unseen")
SCENES, FRAMES, SEED = 4, 6, 7
TILE = (256, 192)


def frames(scene: StoredScene) -> list[np.ndarray]:
    """The scene's frames, each fitted into a tile."""
    fitted = []
    for image in scene.images(range(scene.num_frames)):
        tile = Image.new("RGB", TILE, (250, 250, 250))
        picture = Image.fromarray(image)
        picture.thumbnail(TILE, Image.Resampling.LANCZOS)
        tile.paste(picture, ((TILE[0] - picture.width) // 2, (TILE[1] - picture.height) // 2))
        fitted.append(np.asarray(tile))
    return fitted


def main() -> None:
    """Generate, lay out, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "docs" / "rooms")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        scenes: list[list[StoredScene]] = []
        for split in SPLITS:
            settings = Settings(split=split, seed=SEED, seconds=12.0, keyframes=FRAMES)
            place = Path(made) / split
            generate(place, settings, scenes=SCENES, open_studio=open_rooms_studio)
            archive = Archive(place)
            scenes.append([archive.scene(name) for name in archive.scene_ids])
        half = SCENES // 2
        for sheet in range(2):
            shown = [scene for split in scenes for scene in split[half * sheet :][:half]]
            tiles = [tile for scene in shown for tile in frames(scene)]
            titles = [
                f"{scene.scene_id}: {scene.record['room_type']}" if number == 0 else ""
                for scene in shown
                for number in range(FRAMES)
            ]
            picture = contact_sheet(tiles, columns=FRAMES, titles=titles)
            picture.save(folder / f"contact-sheet-{sheet + 1}.jpg", quality=80)


if __name__ == "__main__":
    main()
