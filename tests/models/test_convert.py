"""Conversion there and back loses nothing, full-size names included, and wrong files are named."""

import json
import os
import pickle
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_llava_3d import make_llava_3d, make_vggt
from small_model import make_tokenizer
from transformers import (
    AutoModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from vidllm.models.convert import account, convert, read_architecture
from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.llava_3d_weights import llava_3d_config_to_official, llava_3d_to_official
from vidllm.models.public_models import load_llava_3d, load_vggt
from vidllm.models.vggt import VGGT
from vidllm.models.vision_encoder import normalize_images
from vidllm.models.weight_files import INDEX, WeightFiles, sha256_of
from vidllm.types import UsageError, VidLLMError


def folder_of(path: Path, weights: dict[str, torch.Tensor], config: dict | None = None) -> Path:
    """A released model's folder with one file of weights."""
    path.mkdir()
    contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    save_file(contiguous, path / "model.safetensors")
    if config:
        (path / "config.json").write_text(json.dumps(config))
    return path


def everything_in(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


@pytest.fixture(scope="module")
def vggt() -> VGGT:
    return make_vggt(enable_point=True)


@pytest.fixture(scope="module")
def vggt_weights(vggt) -> dict[str, torch.Tensor]:
    """Official names, with some of the track head, which has no counterpart."""
    tracks = {f"track_head.part.{i}.weight": torch.full((2, 3), float(i)) for i in range(2)}
    return vggt.official_state_dict() | tracks


@pytest.fixture
def vggt_folder(tmp_path, vggt, vggt_weights) -> Path:
    fields = vars(vggt.config) | {"enable_track": True}
    return folder_of(tmp_path / "vggt", vggt_weights, fields)


@pytest.fixture(scope="module")
def llava_3d() -> LLaVA3D:
    return make_llava_3d()


@pytest.fixture
def llava_3d_folder(tmp_path, llava_3d) -> Path:
    weights = llava_3d_to_official(llava_3d.state_dict())
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    vision = "model.vision_tower.vision_tower.vision_model."
    weights[f"{vision}embeddings.position_ids"] = torch.arange(17)[None]
    folder = folder_of(tmp_path / "llava", weights, llava_3d_config_to_official(llava_3d.config))
    make_tokenizer().save_pretrained(folder)
    return folder


def test_vggt_there_and_back_in_shards(tmp_path, vggt_folder, vggt_weights):
    there = convert("vggt", vggt_folder, tmp_path / "ours", max_shard_bytes=200_000)
    files = sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert {name: sha256_of(tmp_path / "ours" / name) for name in files} == there.sha256
    assert there.source_sha256 == {
        "model.safetensors": sha256_of(vggt_folder / "model.safetensors")
    }
    assert there.unused == ["track_head.part.0.weight", "track_head.part.1.weight"]
    index = json.loads((tmp_path / "ours" / INDEX).read_text())
    assert index["weight_map"].keys() == everything_in(tmp_path / "ours").keys()
    convert("vggt", tmp_path / "ours", tmp_path / "back", to="official")
    assert_same(everything_in(tmp_path / "back"), vggt_weights)


def test_llava_3d_there_and_back(tmp_path, llava_3d_folder):
    there = convert("llava-3d", llava_3d_folder, tmp_path / "ours", max_shard_bytes=100_000)
    assert len(there.unused) == 2
    assert (tmp_path / "ours" / "tokenizer.json").is_file()
    convert("llava-3d", tmp_path / "ours", tmp_path / "back", to="official")
    assert_same(everything_in(tmp_path / "back"), everything_in(llava_3d_folder))
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config == json.loads((llava_3d_folder / "config.json").read_text())


@pytest.mark.parametrize("kind", ["plain", "registers", "gated"])
def test_dinov2_there_and_back(tmp_path, kind):
    """Official names are read by the map that VGGT's encoder is proven with."""
    torch.manual_seed(0)
    fields = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields |= {"image_size": 42, "patch_size": 14, "use_swiglu_ffn": kind == "gated"}
    with_registers = kind == "registers"
    config = (Dinov2WithRegistersConfig if with_registers else Dinov2Config)(**fields)
    model = (Dinov2WithRegistersModel if with_registers else Dinov2Model)(config).eval()
    model.save_pretrained(tmp_path / "hugging-face")
    convert("dinov2", tmp_path / "hugging-face", tmp_path / "official", to="official")
    official = everything_in(tmp_path / "official")
    assert official["blocks.1.attn.qkv.weight"].shape == (384, 128)
    assert official.keys() == dinov2_names(2, with_registers, kind == "gated")
    torch.save(official, tmp_path / "dinov2_vits14_pretrain.pth")
    convert("dinov2", tmp_path / "dinov2_vits14_pretrain.pth", tmp_path / "ours")
    assert_same(everything_in(tmp_path / "ours"), everything_in(tmp_path / "hugging-face"))
    loaded = AutoModel.from_pretrained(tmp_path / "ours").eval()
    images = normalize_images(torch.rand(1, 3, 42, 42))
    with torch.no_grad():
        expected = model(images).last_hidden_state
        torch.testing.assert_close(loaded(images).last_hidden_state, expected, rtol=0, atol=0)


def dinov2_names(blocks: int, registers: bool, gated: bool) -> set[str]:
    """The names in DINOv2's released files, written out."""
    pairs = ["norm1", "norm2", "attn.qkv", "attn.proj"]
    pairs += ["mlp.w12", "mlp.w3"] if gated else ["mlp.fc1", "mlp.fc2"]
    block = [f"{part}.{kind}" for part in pairs for kind in ("weight", "bias")]
    block += ["ls1.gamma", "ls2.gamma"]
    names = {f"blocks.{i}.{part}" for i in range(blocks) for part in block}
    names |= {"cls_token", "pos_embed", "mask_token", "norm.weight", "norm.bias"}
    names |= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    return names | ({"register_tokens"} if registers else set())


def test_loaded_models_answer_as_the_originals(tmp_path, vggt, vggt_folder, llava_3d_folder):
    """From official and from converted files alike."""
    convert("vggt", vggt_folder, tmp_path / "vggt-ours")
    convert("llava-3d", llava_3d_folder, tmp_path / "llava-ours")
    images = torch.rand(2, 3, 28, 42)
    expected = vggt(images)
    points, ids = torch.rand(2, 28, 28, 3), torch.tensor([3, -200, 4])
    squares = torch.rand(2, 3, 28, 28)
    logits = make_llava_3d()(ids, squares, points)
    folders = (vggt_folder, tmp_path / "vggt-ours")
    for source in (*folders, *(folder / "model.safetensors" for folder in folders)):
        with torch.no_grad():
            outputs = load_vggt(source)(images)
        torch.testing.assert_close(outputs["world_points"], expected["world_points"])
    for source in (llava_3d_folder, tmp_path / "llava-ours"):
        model, processor = load_llava_3d(source)
        with torch.no_grad():
            torch.testing.assert_close(model(ids, squares, points), logits)
        assert processor.image_size == 28
        assert processor.tokenizer("a").input_ids == make_tokenizer()("a").input_ids


def test_dtype_is_changed_only_where_asked(tmp_path, vggt_folder, vggt_weights):
    convert("vggt", vggt_folder, tmp_path / "half", dtype="bfloat16")
    half = everything_in(tmp_path / "half")
    used = {name: t for name, t in half.items() if not name.startswith("unused.")}
    assert {t.dtype for t in used.values()} == {torch.bfloat16}
    convert("vggt", tmp_path / "half", tmp_path / "back", to="official")
    back = everything_in(tmp_path / "back")
    for name, tensor in vggt_weights.items():
        kept = tensor if name.startswith("track_head.") else tensor.bfloat16()
        assert torch.equal(back[name], kept), name
    big = vggt_weights | {"aggregator.camera_token": torch.full((1, 2, 1, 48), 1e6)}
    folder = folder_of(tmp_path / "big", big, json.loads((vggt_folder / "config.json").read_text()))
    with pytest.raises(VidLLMError, match=r"aggregator\.camera_token.*float16.*bfloat16"):
        convert("vggt", folder, tmp_path / "overflow", dtype="float16")
    assert not (tmp_path / "overflow").exists()
    assert not list(tmp_path.glob(".vidllm-*"))


class Names(WeightFiles):
    """Weight files without values."""

    def __init__(self, meta: dict[str, torch.Tensor]) -> None:
        self.path, self.files, self.config, self.meta = Path("meta"), [], {}, meta

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.meta[name]


def check_pieces(kind: str, official: dict[str, torch.Tensor]) -> None:
    """Every name on both sides in one piece, and shapes come back."""
    files = Names(official)
    architecture = read_architecture(kind, files, converted=False)
    pieces = account(kind, files, architecture, "vidllm")
    assert sorted(name for p in pieces for name in p.official) == sorted(official)
    ours = [name for p in pieces if not p.unused for name in p.vidllm]
    assert sorted(ours) == sorted(architecture.own)
    for piece in pieces:
        if not piece.unused:
            given = {name: official[name] for name in piece.official}
            there = architecture.from_official(given)
            assert {k: t.shape for k, t in there.items()} == {
                k: architecture.own[k].shape for k in piece.vidllm
            }
            back = architecture.to_official(there)
            assert {k: t.shape for k, t in back.items()} == {k: t.shape for k, t in given.items()}


def test_all_names_of_vggt_1b(shared_data):
    """The 1,797 names of the released file, track head included."""
    listed = json.loads((shared_data / "vggt_parity" / "vggt1b_keys.json").read_text())
    names = {k: torch.empty(shape, device="meta") for k, shape in listed["keys"].items()}
    assert len(names) == 1797
    check_pieces("vggt", names)


def test_all_names_of_llava_3d_7b():
    with torch.device("meta"):
        check_pieces("llava-3d", llava_3d_to_official(LLaVA3D(LLaVA3DConfig()).state_dict()))


@pytest.mark.slow
def test_vggt_1b_in_memory_loses_nothing(tmp_path, shared_data):
    """5 GB of keyed noise under the released names, there and back, bit for bit."""
    listed = json.loads((shared_data / "vggt_parity" / "vggt1b_keys.json").read_text())["keys"]
    source, back = tmp_path / "vggt-1b", tmp_path / "back"
    source.mkdir()
    torch.save({name: noise(name, shape) for name, shape in listed.items()}, source / "model.pt")
    there = convert("vggt", source / "model.pt", tmp_path / "ours")
    assert there.parameters == sum(t.numel() for t in VGGT().parameters())
    shutil.rmtree(source)
    convert("vggt", tmp_path / "ours", back, to="official")
    files = WeightFiles(back)
    assert files.meta.keys() == listed.keys()
    for name, shape in listed.items():
        assert torch.equal(files[name], noise(name, shape)), name


def noise(name: str, shape: list[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(shape, generator=generator)


class Program:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def truncated(folder: Path) -> Path:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return file


def pickled_with_code(folder: Path) -> Path:
    torch.save({"aggregator.camera_token": Program()}, folder / "model.pt")
    return folder / "model.pt"


def old_pickle_with_code(folder: Path) -> Path:
    (folder / "model.bin").write_bytes(pickle.dumps({"a": Program()}, protocol=2))
    return folder / "model.bin"


def truncated_pickle(folder: Path) -> Path:
    torch.save({"a": torch.zeros(1000)}, folder / "model.pt")
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:2000])
    return folder / "model.pt"


def page_instead_of_weights(folder: Path) -> Path:
    (folder / "model.pt").write_text("<!DOCTYPE html> please log in")
    return folder / "model.pt"


def nested(folder: Path) -> Path:
    torch.save({"model": {"a": torch.zeros(1)}}, folder / "model.pt")
    return folder / "model.pt"


def quantised(folder: Path) -> Path:
    weights = load_file(folder / "model.safetensors")
    weights["aggregator.camera_token"] = weights["aggregator.camera_token"].to(torch.int8)
    save_file(weights, folder / "model.safetensors")
    return folder


def other_architecture(folder: Path) -> Path:
    save_file({"model.embed_tokens.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    return folder


def other_shape(folder: Path) -> Path:
    weights = load_file(folder / "model.safetensors")
    weights["aggregator.camera_token"] = torch.zeros(1, 2, 1, 47)
    save_file(weights, folder / "model.safetensors")
    return folder


def index_that_lies(folder: Path) -> Path:
    index = {"weight_map": {"aggregator.lost": "model.safetensors"}}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def index_of_numbers(folder: Path) -> Path:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": 3}}))
    return folder


def no_heads(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_heads": 0}))
    return folder


def index_that_climbs(folder: Path) -> Path:
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


WRONG = {
    truncated: r"model\.safetensors is damaged or incomplete",
    pickled_with_code: r"model\.pt holds Python objects.*safetensors",
    old_pickle_with_code: r"model\.bin holds Python objects.*safetensors",
    truncated_pickle: r"model\.pt is damaged or incomplete",
    page_instead_of_weights: r"model\.pt is damaged or incomplete",
    nested: r"model\.pt is no plain dictionary of tensors",
    quantised: r"model\.safetensors: aggregator\.camera_token is stored as int8",
    other_architecture: r"vggt in .*/vggt.*missing.*unknown \(model\.embed_tokens\.weight\)",
    other_shape: r"aggregator\.camera_token \(1, 2, 1, 47\) for \(1, 2, 1, 48\)",
    index_that_lies: r"model\.safetensors lacks aggregator\.lost",
    index_of_numbers: r"index\.json is no index of weights: it has no weight_map of file names",
    no_heads: r"config\.json of .*vggt is not one of vggt: .*zero",
    index_that_climbs: r"'\.\./model\.safetensors', which is not in its folder",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_wrong_files_are_named_in_one_line(tmp_path, monkeypatch, vggt_folder, spoil):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VidLLMError, match=WRONG[spoil]) as caught:
        convert("vggt", spoil(vggt_folder), tmp_path / "result")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "result").exists()
    assert not (tmp_path / "ran").exists()


def test_a_language_model_that_cannot_be_is_told_in_one_line(tmp_path, llava_3d_folder):
    config = json.loads((llava_3d_folder / "config.json").read_text())
    (llava_3d_folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    with pytest.raises(VidLLMError, match=r"is not one of llava-3d: .*attention heads") as caught:
        convert("llava-3d", llava_3d_folder, tmp_path / "result")
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path, vggt_folder):
    convert("vggt", vggt_folder, tmp_path / "ours", max_shard_bytes=200_000)
    lost = sorted((tmp_path / "ours").glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(VidLLMError, match=f"{lost.name} is missing: {INDEX} lists it"):
        convert("vggt", tmp_path / "ours", tmp_path / "back", to="official")


def test_wrong_requests(tmp_path, vggt_folder, llava_3d_folder):
    with pytest.raises(UsageError, match="is not there"):
        convert("vggt", tmp_path / "nowhere", tmp_path / "result")
    with pytest.raises(UsageError, match="holds no weights"):
        convert("vggt", tmp_path, tmp_path / "result")
    with pytest.raises(UsageError, match="exists: name a new folder"):
        convert("vggt", vggt_folder, vggt_folder)
    with pytest.raises(VidLLMError, match="holds no vggt converted by vidllm"):
        convert("vggt", vggt_folder, tmp_path / "result", to="official")
    with pytest.raises(VidLLMError, match="holds no DINOv2: it has no cls_token"):
        convert("dinov2", vggt_folder, tmp_path / "result")
    convert("vggt", vggt_folder, tmp_path / "ours")
    with pytest.raises(VidLLMError, match="converted already: use --to official"):
        convert("vggt", tmp_path / "ours", tmp_path / "result")
    for file in llava_3d_folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(VidLLMError, match="no tokenizer in"):
        load_llava_3d(llava_3d_folder)


def test_the_package_that_a_tokenizer_needs_is_named(llava_3d_folder, monkeypatch):
    for file in llava_3d_folder.glob("tokenizer*"):
        file.unlink()
    (llava_3d_folder / "tokenizer.model").write_bytes(b"")
    monkeypatch.setattr("vidllm.models.public_models.find_spec", lambda name: None)
    with pytest.raises(VidLLMError, match="pip install sentencepiece"):
        load_llava_3d(llava_3d_folder)
