"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors: threads only get into each other's way
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data that must not be copied into the project (see CONTRIBUTING.md)."""
    path = Path(os.environ.get("VIDLLM_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"reference data not found at {path} (set VIDLLM_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def small_pipeline():
    """A `Pipeline` around random weights: everything real but the answers."""
    from small_model import make_model, make_tokenizer

    from vidllm.inference.pipeline import Pipeline
    from vidllm.models.processor import VidLLMProcessor

    model = make_model()
    processor = VidLLMProcessor.from_config(model.config, make_tokenizer())
    return Pipeline(model, processor, name="small", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def frames():
    """Three frames of smooth noise, 96 x 128."""
    import numpy as np

    from vidllm.types import Frames

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, 12, 16, 3), dtype=np.uint8)
    return Frames(
        images=coarse.repeat(8, axis=1).repeat(8, axis=2),
        frame_indices=np.array([0, 10, 20]),
        timestamps=np.array([0.0, 0.5, 1.0]),
        source="noise",
    )
