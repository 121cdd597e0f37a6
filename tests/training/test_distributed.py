"""Two processes compute what one computes, stage by stage, and one goes on from their files.

Processes are forked and find each other as they do under ``torchrun``. gloo sometimes ends a
process badly after its work is done: files are what counts.
"""

import os
import shutil
import socket
from dataclasses import replace

import pytest
import torch
import torch.distributed.fsdp
import torch.distributed.tensor  # here, so that forked processes need not import them
from small_training import TWO_PROCESSES, fork, train

from vidllm.inference.loading import load_model
from vidllm.training import distributed
from vidllm.training.checkpoint import last_checkpoint, load_progress, load_shards
from vidllm.training.tracking import read_log
from vidllm.types import UsageError


def train_in_two(config, rooms, out, **settings) -> None:
    """Both processes to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        fork(
            lambda: train(config, rooms, out, **settings),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **shared,
        )
        for rank in range(2)
    ]
    for process in processes:
        os.waitpid(process, 0)


@pytest.fixture(scope="module")
def runs(rooms, tmp_path_factory):
    """The same recipe in one process and in two."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    scored = {"validate": (rooms,), "validate_every": 1, "validate_scenes": 2}
    train(TWO_PROCESSES, rooms, alone, **scored)
    train_in_two(TWO_PROCESSES, rooms, together, **scored)
    return alone, together


@pytest.mark.slow
def test_losses_and_scores_are_equal(runs):
    """Over both stages: kept features, frozen parts, adapters in frozen blocks, running mean."""
    alone, together = (read_log(out) for out in runs)
    assert len(alone) == len(together) == sum(stage.steps for stage in TWO_PROCESSES.stages)
    for one, other in zip(alone, together, strict=True):
        assert other["losses"] == pytest.approx(one["losses"], rel=1e-5, abs=1e-4)
        assert other["scores"] == pytest.approx(one["scores"], rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_checkpoint_and_model_are_equal(runs):
    for name, stem in ((f"checkpoints/{last_checkpoint(runs[0]).name}", "weights"), ("model",) * 2):
        alone, together = (load_shards(out / name, stem) for out in runs)
        assert alone.keys() == together.keys()
        for key in alone:
            torch.testing.assert_close(together[key], alone[key], atol=1e-4, rtol=1e-3)
    load_model(str(runs[1] / "model"))


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped(rooms, runs, tmp_path):
    """In the middle of a stage: optimizer state and running mean are put together again."""
    config = replace(TWO_PROCESSES, stages=TWO_PROCESSES.stages[1:])
    train_in_two(config, rooms, tmp_path / "two", max_minutes=1e-9)
    assert load_progress(last_checkpoint(tmp_path / "two"))["step"] == 1
    shutil.copytree(tmp_path / "two", tmp_path / "other way")
    assert train(config, rooms, tmp_path / "two").finished
    train_in_two(config, rooms, tmp_path / "other way")
    train(config, rooms, tmp_path / "one")
    expected = read_log(tmp_path / "one")
    for name in ("two", "other way"):
        found = read_log(tmp_path / name)
        assert len(found) == len(expected) == 3
        for row, other in zip(found, expected, strict=True):
            assert row["losses"] == pytest.approx(other["losses"], rel=1e-5, abs=1e-4)


def test_passes_must_be_dealt_out_evenly():
    ranks = distributed.Ranks(world=2, device=torch.device("cpu"))
    assert distributed.passes_of(ranks, 6) == 3
    with pytest.raises(UsageError, match="3 forward passes a step cannot be dealt out to 2"):
        distributed.passes_of(ranks, 3)
