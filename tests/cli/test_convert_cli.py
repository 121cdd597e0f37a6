"""``vidllm convert``: what it prints and writes, exit codes, one line for what is wrong."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_llava_3d import VISION, make_llava_3d, make_vggt
from small_model import make_tokenizer

from vidllm.cli import main
from vidllm.models.llava_3d_weights import llava_3d_config_to_official, llava_3d_to_official


@pytest.fixture
def released(tmp_path):
    model = make_vggt()
    folder = tmp_path / "released"
    folder.mkdir()
    weights = model.official_state_dict() | {"track_head.norm.weight": torch.ones(3)}
    torch.save(weights, folder / "model.pt")
    (folder / "config.json").write_text(json.dumps(vars(model.config)))
    return folder, weights


def test_there_and_back(tmp_path, released, capsys):
    folder, weights = released
    assert main(["convert", "vggt", str(folder / "model.pt"), str(tmp_path / "ours")]) == 0
    text = capsys.readouterr().out
    digest = hashlib.sha256((tmp_path / "ours" / "model.safetensors").read_bytes()).hexdigest()
    assert f"wrote model.safetensors sha256 {digest}" in text
    assert "1 without a counterpart kept for the way back (track_head.norm.weight)" in text
    back = ["convert", "vggt", str(tmp_path / "ours"), str(tmp_path / "back")]
    assert main([*back, "--to", "official", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["source_sha256"] == {"model.safetensors": digest}
    assert record["unused"] == ["track_head.norm.weight"]
    result = load_file(tmp_path / "back" / "model.safetensors")
    assert result.keys() == weights.keys()
    assert all(torch.equal(result[name], weights[name]) for name in weights)


def test_options_reach_the_result(tmp_path, released):
    folder, _ = released
    options = ["--dtype", "bfloat16", "--max-shard-gb", "0.0001"]
    assert main(["convert", "vggt", str(folder), str(tmp_path / "ours"), *options]) == 0
    shards = sorted((tmp_path / "ours").glob("*.safetensors"))
    assert len(shards) > 1
    assert load_file(shards[0])["encoder.backbone.embeddings.cls_token"].dtype == torch.bfloat16


def test_a_start_from_teachers_is_one_that_info_and_train_know(tmp_path, capsys):
    language = make_llava_3d(vision=VISION | {"hidden_size": 48})
    models = {"vggt": make_vggt(vit_depth=4), "llava": language}
    weights = {"vggt": models["vggt"].official_state_dict()}
    weights["llava"] = llava_3d_to_official(language.state_dict())
    configs = {"vggt": vars(models["vggt"].config)}
    configs["llava"] = llava_3d_config_to_official(language.config)
    for name in models:
        (tmp_path / name).mkdir()
        tensors = {key: tensor.contiguous() for key, tensor in weights[name].items()}
        save_file(tensors, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps(configs[name]))
    make_tokenizer().save_pretrained(tmp_path / "llava")
    source, start = f"{tmp_path / 'vggt'}+{tmp_path / 'llava'}", tmp_path / "start"
    assert main(["convert", "teachers", source, str(start)]) == 0
    text = capsys.readouterr().out
    assert "tensors from vggt" in text
    assert "of llava-3d left behind (place_embedding." in text
    assert "read vggt/model.safetensors sha256" in text
    assert main(["info", "--model", str(start), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert f"{record['parameters'] / 1e6:,.1f} M parameters" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["vggt", "{here}/nowhere", "{here}/ours"], 2, "nowhere is not there"),
        (["vggt", "{here}/released", "{here}/released"], 2, "exists: name a new folder"),
        (["vggt", "{here}/released", "{here}/ours", "--max-shard-gb", "0"], 2, "positive"),
        (["llava-3d", "{here}/released", "{here}/ours"], 1, "llava-3d in"),
        (["teachers", "{here}/released", "{here}/ours"], 2, "give two as VGGT+LLAVA-3D"),
        (["teachers", "a+b", "{here}/ours"], 2, "a is not there"),
        (["teachers", "a+b", "{here}/ours", "--to", "official"], 2, "nothing leads back"),
        (
            ["vggt", "{here}/damaged.safetensors", "{here}/ours"],
            1,
            "damaged.safetensors is damaged",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, released, capsys, arguments, code, said):
    save_file({"a": torch.ones(100)}, tmp_path / "damaged.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert main(["convert", *(a.format(here=tmp_path) for a in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vidllm: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "ours").exists()
