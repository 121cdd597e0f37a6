"""Runs: repeatable, cut off anywhere and resumed exactly, honest about what they change."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch
from small_training import (
    RECONSTRUCT,
    SPEAK,
    fork,
    make_rooms,
    make_student,
    recipe,
    train,
)

from vidllm.training import objective
from vidllm.training.checkpoint import load_shards
from vidllm.training.config import LossWeights
from vidllm.training.tracking import plot_losses, read_log
from vidllm.training.trainer import RunSettings, Trainer
from vidllm.types import UsageError, VidLLMError

TWO_STAGES = recipe(RECONSTRUCT, SPEAK)


def losses(out) -> list[tuple]:
    """Stage, step and losses of every line of the log."""
    return [(row["stage"], row["step"], row["losses"]) for row in read_log(out)]


@pytest.fixture(scope="module")
def whole_run(rooms, tmp_path_factory):
    """Both stages in one go."""
    out = tmp_path_factory.mktemp("whole")
    assert train(TWO_STAGES, rooms, out).finished
    return out


def test_runs_repeat_and_seeds_differ(rooms, tmp_path):
    stage = replace(SPEAK, steps=2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(recipe(stage, seed=seed), rooms, tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a")[0] != losses(tmp_path / "c")[0]


@pytest.mark.parametrize("kill_at", [("reconstruct", 2), ("speak", 2)])
def test_killed_run_goes_on_as_if_nothing_had_happened(rooms, whole_run, tmp_path, kill_at):
    """Kept features in the first stage, none in the second; a checkpoint after every step."""
    config = replace(TWO_STAGES, checkpoint_minutes=0.0)
    process = fork(lambda: train(config, rooms, tmp_path, kill_at=kill_at))
    _, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    steps = [row[:2] for row in losses(tmp_path)]
    assert steps[-1][1] == 2
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"stage": 1, "st')  # a line cut off
    assert train(config, rooms, tmp_path).finished
    assert losses(tmp_path) == losses(whole_run)
    weights = [load_shards(out / "model", "model") for out in (tmp_path, whole_run)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_terminated_with_its_loader_processes_it_saves_and_goes_on(rooms, whole_run, tmp_path):
    """As by Ctrl-C or ``timeout``, which reach the whole group."""

    def work():
        os.setsid()
        report = train(
            TWO_STAGES,
            rooms,
            tmp_path,
            kill_at=("speak", 1),
            kill=lambda: os.killpg(0, signal.SIGTERM),
            workers=2,
        )
        assert (report.stage, report.step, report.finished) == ("speak", 2, False)

    _, status = os.waitpid(fork(work), 0)
    assert status == 0
    assert train(TWO_STAGES, rooms, tmp_path, workers=1).finished
    assert losses(tmp_path) == losses(whole_run)


def test_bfloat16_beside_kept_features_changes_rounding_only(rooms, tmp_path):
    """Keeping and learning are both in it."""
    stage = replace(SPEAK, steps=1, given="geometry", lora=None, trained={"patch_3d": 1.0})
    stage = replace(stage, losses=LossWeights(language=1))
    gradients = []
    for dtype in ("float32", "bfloat16"):
        train(recipe(stage, dtype=dtype), rooms, tmp_path / dtype)
        gradients.append(losses(tmp_path / dtype)[0][2]["gradient"])
    assert gradients[0] > 0
    assert gradients[1] == pytest.approx(gradients[0], rel=0.1)


def test_stages_by_the_clock_end_with_it_and_go_on(rooms, tmp_path):
    config = recipe(replace(SPEAK, steps=10**6, minutes=0.05, warmup=0.0))
    stopped = train(config, rooms, tmp_path, max_minutes=1e-9)
    assert (stopped.step, stopped.finished) == (1, False)
    report = train(config, rooms, tmp_path)
    assert report.finished
    assert report.step > 2
    assert 0.05 <= report.minutes < 1
    rates = [row[2]["rate"] for row in losses(tmp_path)]
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < rates[1] / 2


def test_finished_run_stays_finished(rooms, whole_run):
    before = losses(whole_run)
    report = train(TWO_STAGES, rooms, whole_run)
    assert report.finished
    assert (report.stage, report.step) == ("speak", SPEAK.steps)
    assert losses(whole_run) == before
    assert not (whole_run / "kept").exists()


def test_log_is_drawn(whole_run, tmp_path):
    assert plot_losses(tmp_path) is None
    assert plot_losses(whole_run).read_bytes().startswith(b"\x89PNG")


def test_time_budget_saves_and_the_next_run_goes_on(rooms, tmp_path):
    config = recipe(replace(SPEAK, steps=3), ema=0.5)
    for step in (1, 2, 3):
        report = train(config, rooms, tmp_path, max_minutes=1e-9)
        assert (report.step, report.finished) == (step, step == 3)
    train(config, rooms, tmp_path / "at once")
    assert losses(tmp_path) == losses(tmp_path / "at once")
    one, other = (load_shards(out / "model", "model") for out in (tmp_path, tmp_path / "at once"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_frozen_weights_stay_bit_for_bit(rooms, tmp_path):
    for stage in (RECONSTRUCT, SPEAK):
        model, processor = make_student()
        before = {name: p.clone() for name, p in model.named_parameters()}
        places = RunSettings(data=(rooms,), out=tmp_path / stage.name)
        Trainer(model, processor, recipe(replace(stage, steps=2)), places).run()
        changed = set()
        for name, parameter in model.named_parameters():
            first = before.get(name.replace(".base_layer.", "."), torch.zeros(0))
            if not torch.equal(parameter, first):
                changed.add(name.split(".")[0] if ".lora_" not in name else "language_model")
        assert changed == set(stage.trained)
        language = [n for n, _ in model.named_parameters() if n.startswith("language_model.")]
        same = [n for n in language if ".lora_" not in n]
        values = dict(model.named_parameters())
        assert all(torch.equal(values[n], before[n.replace(".base_layer.", ".")]) for n in same)


def test_numbers_that_are_none_end_the_run_and_its_processes(rooms, tmp_path):
    model, processor = make_student()
    with torch.no_grad():
        next(model.patch_3d.parameters()).fill_(torch.nan)
    places = RunSettings(data=(rooms,), out=tmp_path, workers=1)
    trainer = Trainer(model, processor, recipe(replace(SPEAK, true_geometry=1.0)), places)
    with pytest.raises(
        VidLLMError, match=r"step 0: .* is nan with scenes train-0-00000\d: lower"
    ) as ended:
        trainer.run()
    assert ended.tb is not None  # which holds on to everything that was not closed
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "checkpoints").exists()
    assert read_log(tmp_path) == []


@pytest.mark.parametrize(("share", "steps"), [(0.0, 0), (1.0, 3)])
def test_share_of_the_scenes_that_are_named_by_true_words(
    rooms, tmp_path, monkeypatch, share, steps
):
    named, original = [], objective.certain_words

    def spy(batch, groups):
        named.append(batch.scene_ids)
        return original(batch, groups)

    monkeypatch.setattr(objective, "certain_words", spy)
    train(recipe(replace(SPEAK, steps=3, true_words=share)), rooms, tmp_path)
    assert len(named) == steps


def test_scenes_that_cannot_be_placed_are_named(rooms, tmp_path):
    model, processor = make_student()
    with torch.no_grad():
        next(model.dense_head.parameters()).fill_(torch.nan)
    places = RunSettings(data=(rooms,), out=tmp_path)
    with pytest.raises(VidLLMError, match=r"scenes train-0-00000\d: Cannot find the scene's scale"):
        Trainer(model, processor, recipe(RECONSTRUCT), places).run()


def test_folder_of_another_run_is_refused(rooms, whole_run):
    other = recipe(RECONSTRUCT, replace(SPEAK, learning_rate=2.0))
    with pytest.raises(UsageError, match=r"another stages\[1\].learning_rate .*: choose another"):
        train(other, rooms, whole_run)
    with pytest.raises(UsageError, match="another stages"):
        train(recipe(RECONSTRUCT), rooms, whole_run)


def test_settings_that_an_older_run_did_not_know_are_no_difference(rooms, whole_run):
    file = whole_run / "recipe.json"
    text = file.read_text()
    known = json.loads(text)
    del known["recompute"], known["stages"][0]["warmup"]
    file.write_text(json.dumps(known))
    assert train(TWO_STAGES, rooms, whole_run).finished
    file.write_text(text)


def test_kept_features_of_other_data_are_not_used(rooms, tmp_path):
    """Data that change between two sittings: what was kept of the old ones is computed anew."""
    stage = replace(RECONSTRUCT, steps=2, augmentation=None)
    more = make_rooms(tmp_path / "rooms", scenes=2)
    (tmp_path / "old").mkdir()
    (more / "scenes" / "train-0-000000").rename(tmp_path / "old" / "train-0-000000")
    train(recipe(stage), more, tmp_path / "run", max_minutes=1e-9)
    kept = tmp_path / "run" / "kept" / "reconstruct" / "0-0.safetensors"
    before = kept.read_bytes()
    (tmp_path / "old" / "train-0-000000").rename(more / "scenes" / "train-0-000000")
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.rename(tmp_path / file.name)  # from the start again
    train(recipe(stage), more, tmp_path / "run", max_minutes=1e-9)
    assert kept.read_bytes() != before
    train(recipe(stage), more, tmp_path / "fresh", max_minutes=1e-9)
    assert losses(tmp_path / "run") == losses(tmp_path / "fresh")


def test_activations_computed_again_change_nothing(rooms, tmp_path):
    stage = replace(SPEAK, steps=2, trained={"vision_encoder": 1.0} | dict(SPEAK.trained))
    for name, again in (("kept", False), ("again", True)):
        train(recipe(stage, recompute=again), rooms, tmp_path / name)
    for one, other in zip(losses(tmp_path / "kept"), losses(tmp_path / "again"), strict=True):
        assert one[2] == pytest.approx(other[2], rel=1e-5)


def test_running_mean_is_exported_and_goes_on(rooms, tmp_path):
    """After n updates with decay 0.9: the first ones count less, (1 + n) / (10 + n)."""
    weights = []

    class Spy(Trainer):
        def pause(self):
            weights.append(self.model.global_frame_attention.camera_token.detach().clone())
            return super().pause()

    config = recipe(replace(RECONSTRUCT, steps=3), ema=0.9)
    start = make_student()[0].global_frame_attention.camera_token.detach().clone()
    Spy(*make_student(), config, RunSettings(data=(rooms,), out=tmp_path)).run()
    expected = start
    for step, weight in enumerate(weights):
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * weight
    name = "global_frame_attention.camera_token"
    exported = load_shards(tmp_path / "model", "model")[name]
    torch.testing.assert_close(exported, expected)
    assert not torch.equal(exported, weights[-1])
