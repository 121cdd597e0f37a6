"""Videos of a data set are the same bytes wherever and whenever they are made."""

import hashlib
import os
import subprocess
import sys

import pytest

ENCODE = """
import sys
import numpy as np
from vidllm.rooms.media import VideoWriter

ramp = np.linspace(0, 255, 72 * 96 * 3).reshape(72, 96, 3)
with open(sys.argv[1], "wb") as file:
    writer = VideoWriter(file, width=96, height=72, fps=10)
    for step in range(6):
        writer.add(np.uint8((ramp + 10 * step) % 255))
    writer.close()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills memory on request")
def test_video_does_not_depend_on_what_memory_held_before(tmp_path):
    digests = set()
    for filling in ("0", "85", "170"):
        file = tmp_path / f"{filling}.mp4"
        environment = os.environ | {"MALLOC_PERTURB_": filling}
        subprocess.run([sys.executable, "-c", ENCODE, str(file)], env=environment, check=True)
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1
