"""What learns, how fast, and with which decay."""

from dataclasses import replace

import pytest
import torch
from small_training import ALL, JOINT, RECONSTRUCT, SPEAK, make_student

from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.recipes import RECIPES
from vidllm.training.export import add_lora
from vidllm.training.optimizer import build_optimizer, schedule, set_learning_rate
from vidllm.training.recipes import ABLATIONS, TRAININGS
from vidllm.training.stages import set_trainable, trained_parameters
from vidllm.types import UsageError


def learning(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("stage", [RECONSTRUCT, JOINT])
def test_a_stage_trains_what_it_names_and_nothing_else(stage):
    model, _ = make_student()
    for _ in range(2):  # whatever was frozen before
        set_trainable(model, stage)
        expected = {n for n, _ in model.named_parameters() if n.split(".")[0] in stage.trained}
        assert learning(model) == expected
        assert {name for name, *_ in trained_parameters(model, stage)} == expected
        model.requires_grad_(stage is RECONSTRUCT)


def test_single_blocks_can_be_named_with_their_own_rate():
    model, _ = make_student()
    block = "vision_encoder.backbone.encoder.layer.3."
    stage = replace(JOINT, trained={"vision_encoder": 0.1, block: 0.5})
    rates = {name: rate for name, _, rate in trained_parameters(model, stage)}
    assert {rate for name, rate in rates.items() if name.startswith(block)} == {0.5}
    assert {rate for name, rate in rates.items() if not name.startswith(block)} == {0.1}
    assert {name.split(".")[0] for name in rates} == {"vision_encoder"}


def test_with_low_rank_adapters_only_these_learn_in_the_language_model():
    model, _ = make_student()
    add_lora(model, SPEAK)
    set_trainable(model, SPEAK)
    language = {name for name in learning(model) if name.startswith("language_model.")}
    assert len(language) == 2 * 7 * 2  # two matrices for seven layers of two blocks
    assert all(".lora_" in name for name in language)
    before = learning(model)
    add_lora(model, SPEAK)
    assert learning(model) == before


def test_wrong_parts_are_refused():
    model, _ = make_student()
    with pytest.raises(UsageError, match="stage joint trains 'wheels', which the model has not"):
        set_trainable(model, replace(JOINT, trained={"wheels": 1.0}))
    kept = replace(JOINT, trained={"vision_encoder.backbone.layernorm": 1.0}, given="encoder")
    with pytest.raises(UsageError, match="trains 'vision_encoder', which it also keeps"):
        set_trainable(model, kept)
    set_trainable(model, replace(kept, given="none"))
    kept = replace(JOINT, trained={"dense_head": 1.0}, given="geometry")
    with pytest.raises(UsageError, match="choose one of them"):
        set_trainable(model, kept)
    set_trainable(model, replace(kept, given="encoder"))
    naming = make_student(category_encoder=True)[0]
    kept = replace(JOINT, trained={"category_encoder.network._blocks": 1.0}, given="encoder")
    with pytest.raises(UsageError, match="trains 'category_encoder', which it also keeps"):
        set_trainable(naming, kept)


def test_vectors_are_not_decayed_and_rates_are_multiplied():
    model, _ = make_student()
    stage = replace(JOINT, trained=dict.fromkeys(ALL, 1.0) | {"vision_encoder": 0.1})
    parameters = list(trained_parameters(model, stage))
    optimizer = build_optimizer(parameters, stage)
    seen = {}
    for step in range(stage.steps):
        rate = set_learning_rate(optimizer, stage, (step + 1) / stage.steps)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                seen[parameter] = group["lr"] / rate, group["weight_decay"]
    for name, parameter, rate in parameters:
        expected = rate, 0.05 if parameter.ndim > 1 else 0.0
        assert seen[parameter] == pytest.approx(expected), name
    assert len(seen) == len(parameters)
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_schedule_warms_up_and_falls_to_a_tenth():
    values = [schedule(step / 100, 0.1) for step in range(1, 101)]
    assert values[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert values[54] == pytest.approx(0.55)  # half way down: (1 + 0.1) / 2
    assert values[-1] == pytest.approx(0.1)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert schedule(1.0, 0.03) == schedule(1.2, 0.03) == pytest.approx(0.1)
    assert schedule(0.0, 0.0) == 1.0


@pytest.mark.parametrize("name", sorted(TRAININGS))
def test_recipes_name_parts_of_their_models(name):
    """On the meta device: nothing is computed."""
    config = TRAININGS[name]()
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(RECIPES[config.model](**config.model_options))
    for stage in config.stages:
        set_trainable(model, replace(stage, lora=None))
        assert learning(model)
        assert any(vars(stage.losses).values())
    assert len({stage.name for stage in config.stages}) == len(config.stages)


def test_rows_of_the_ablation_differ_in_one_thing_each_and_compute_as_much():
    rows = [TRAININGS[f"ablation_{name}"]() for name in ABLATIONS]
    bridges = [row.model_options["adapter"]["mixing"] == "bridge" for row in rows]
    heads = [row.model_options["metric_scale"] for row in rows]
    losses = [bool(row.stages[-1].losses.metric_depth) for row in rows]
    assert bridges == [False, True, True, True]
    assert heads == losses == [False, False, True, True]
    assert [len(row.stages) for row in rows] == [1, 1, 1, 2]
    cost = {"distill": 0.1, "joint": 1.0}
    assert len({sum(cost[s.name] * s.steps for s in row.stages) for row in rows}) == 1
