"""A data set for all tests of training."""

import pytest
from small_training import make_rooms


@pytest.fixture(scope="session")
def rooms(tmp_path_factory):
    """Four box rooms."""
    return make_rooms(tmp_path_factory.mktemp("training") / "rooms")
