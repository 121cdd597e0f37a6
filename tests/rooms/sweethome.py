"""A small furniture library in SweetHome3D's format, written for tests."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PROPERTIES = """# a comment with key=value
id=test
name=Test library
license=Public domain
id#1=Test Kit#cube
name#1=W\\u00fcrfel
category#1=Office
model#1=/kit/cube.obj
width#1=50
depth#1=40
height#1=90
creator#1=Somebody
dropOnTopElevation#1=45
id#2=Test Kit#turned
name#2=Turned
category#2=Office
model#2=/kit/cube.obj
width#2=50
depth#2=40
height#2=90
elevation#2=120
dropOnTopElevation#2=-1
modelRotation#2=0 0 1 0 1 0 -1 0 0
creator#2=Somebody else
"""
# A cube whose front (+z), right (+x) and top (+y) each carry a nose, as quads, inside out or not.
QUADS = ((1, 4, 3, 2), (5, 6, 7, 8), (1, 2, 6, 5), (2, 3, 7, 6), (3, 4, 8, 7), (4, 1, 5, 8))


def _block(low: tuple, high: tuple) -> list[str]:
    (a, b, c), (d, e, f) = low, high
    corners = [
        (a, b, c),
        (d, b, c),
        (d, e, c),
        (a, e, c),
        (a, b, f),
        (d, b, f),
        (d, e, f),
        (a, e, f),
    ]
    return [f"v {x} {y} {z}" for x, y, z in corners]


def cube_obj(*, inside_out: bool = False) -> str:
    """The cube (black) with a red nose to the front, a green one to the right, an image on top."""
    blocks = [
        ("black", (-1, 0, -1), (1, 2, 1)),
        ("red", (-0.2, 0.8, 1), (0.2, 1.2, 1.5)),
        ("green", (1, 0.8, -0.2), (1.5, 1.2, 0.2)),
        ("picture", (-0.2, 2, -0.2), (0.2, 2.5, 0.2)),
    ]
    lines = ["mtllib cube.mtl", "vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    for name, low, high in blocks:
        lines += [*_block(low, high), f"usemtl {name}"]
        for quad in QUADS:
            corners = quad[::-1] if inside_out else quad
            tokens = [f"{corner - 9}/{place + 1}" for place, corner in enumerate(corners)]
            lines.append("f " + " ".join(tokens))
    return "\n".join(lines)


MTL = """newmtl black
Kd 0.05 0.05 0.05
newmtl red
Kd 1 0 0
newmtl green
Kd 0 1 0
d 0.5
newmtl picture
Kd 1 1 1
map_Kd picture.png
"""


def write_library(folder: Path, *, inside_out: bool = False) -> Path:
    """Writes ``kit.sh3f`` into a folder and returns its path."""
    image = io.BytesIO()
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:, :4] = (0, 0, 255)
    Image.fromarray(pixels).save(image, "PNG")
    path = folder / "kit.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", PROPERTIES.encode("latin-1"))
        archive.writestr("kit/cube.obj", cube_obj(inside_out=inside_out))
        archive.writestr("kit/cube.mtl", MTL)
        archive.writestr("kit/picture.png", image.getvalue())
    return path
