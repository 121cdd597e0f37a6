"""A data set for all tests of training."""

import pytest
from small_training import make_rooms


@pytest.fixture(scope="session")
def rooms(tmp_path_factory):
    """Four box rooms."""
    return make_rooms(tmp_path_factory.mktemp("training") / "rooms")


@pytest.fixture(scope="module", autouse=True)
def no_curves():
    """Runs draw no curves, which take longer than the training; one test draws them itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidllm.training.trainer.plot_losses", lambda out: None)
        yield
