"""A Vid-LLM from its teachers: every tensor accounted for, and it computes what they compute."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_llava_3d import LANGUAGE, VISION, make_llava_3d, make_vggt
from small_model import make_tokenizer

from vidllm.inference.loading import load_model
from vidllm.models.config import SPECIAL_TOKENS
from vidllm.models.convert import convert
from vidllm.models.from_teachers import (
    CHAT_TEMPLATE,
    INITIALISED,
    account_for,
    config_of_teachers,
    init_from_teachers,
)
from vidllm.models.initialisation import initialise_all
from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.llava_3d_weights import llava_3d_config_to_official, llava_3d_to_official
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.recipes import paper
from vidllm.types import UsageError, VidLLMError


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two released folders with their models, VGGT with a point and a track head."""
    root = tmp_path_factory.mktemp("teachers")
    vggt, llava_3d = (
        make_vggt(enable_point=True, vit_depth=4),
        make_llava_3d(vision=VISION | {"hidden_size": 48}),
    )
    weights = vggt.official_state_dict() | {"track_head.norm.weight": torch.ones(3)}
    saved = {"vggt": (weights, vars(vggt.config))}
    official = llava_3d_config_to_official(llava_3d.config)
    saved["llava-3d"] = llava_3d_to_official(llava_3d.state_dict()), official
    for name, (tensors, config) in saved.items():
        (root / name).mkdir()
        tensors = {k: t.contiguous() for k, t in tensors.items()}
        save_file(tensors, root / name / "model.safetensors")
        (root / name / "config.json").write_text(json.dumps(config))
    make_tokenizer().save_pretrained(root / "llava-3d")
    return root, vggt, llava_3d


@pytest.fixture(scope="module")
def start(teachers):
    root = teachers[0]
    written = init_from_teachers(
        root / "vggt", root / "llava-3d", root / "start", max_shard_bytes=200_000
    )
    return root / "start", written


def test_every_tensor_is_accounted_for(teachers, start):
    _, vggt, llava_3d = teachers
    folder, written = start
    model, _ = load_model(str(folder))
    assert written.tensors == len(model.state_dict())
    assert written.parameters == sum(p.numel() for p in model.parameters())
    assert written.tensors == sum(written.taken.values()) + len(written.initialised)
    left = {name for name in vggt.state_dict() if name.startswith("point_head.")}
    assert set(written.left["vggt"]) == left | {"track_head.norm.weight"}
    kept = ("language_model.", "projector.")
    assert set(written.left["llava-3d"]) == {
        name for name in llava_3d.state_dict() if not name.startswith(kept)
    }
    assert len(list(folder.glob("*.safetensors"))) == len(written.sha256) > 3


def test_geometry_is_vggts_where_no_bridge_tokens_are_added(teachers, start):
    _, vggt, llava_3d = teachers
    weights = load_model(str(start[0]))[0].state_dict()
    config = config_of_teachers(vggt.config, llava_3d.config, adapter={"mixing": "none"})
    model = VidLLMForConditionalGeneration(config).eval()
    kept = {name: weights[name] for name in model.state_dict()}
    model.load_state_dict(kept)
    images = torch.rand(3, 3, 42, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, geometry = vggt(images), model.encode_scene(images[None]).geometry
    torch.testing.assert_close(geometry.pose_enc[-1], expected["pose_enc_3"])
    torch.testing.assert_close(geometry.relative_depth, expected["depth"][..., 0])
    torch.testing.assert_close(geometry.depth_conf, expected["depth_conf"])


def test_language_is_llava_3ds(teachers, start):
    _, _, llava_3d = teachers
    model, processor = load_model(str(start[0]))
    ids = torch.arange(20)[None]
    vocabulary = LANGUAGE["vocab_size"]
    with torch.no_grad():
        logits = model.language_model(ids).logits
        expected = llava_3d.language_model(ids).logits
        torch.testing.assert_close(logits[..., :vocabulary], expected)
        tokens = torch.rand(5, 48)
        torch.testing.assert_close(
            model.patch_3d.projector(tokens), llava_3d.projector(tokens), rtol=1e-5, atol=1e-6
        )
    assert processor.tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [
        *range(vocabulary, vocabulary + 3)
    ]


def test_the_rest_is_initialised_as_everywhere_and_by_a_seed(teachers, start, tmp_path):
    root = teachers[0]
    model, _ = load_model(str(start[0]))
    weights = {n: t for n, t in model.state_dict().items() if n.startswith(INITIALISED)}
    torch.manual_seed(5)
    again = VidLLMForConditionalGeneration(model.config)
    again.language_model = torch.nn.Identity()
    initialise_all(again)
    for name, tensor in again.state_dict().items():
        if name in weights and not tensor.std(correction=0):  # a constant
            torch.testing.assert_close(weights[name], tensor)
        elif name in weights and tensor.numel() > 100:
            assert float(weights[name].std()) == pytest.approx(float(tensor.std()), rel=0.3), name
    assert not weights["cross_task_adapter.geometry_projection.2.weight"].any()
    for seed in (0, 1):
        init_from_teachers(root / "vggt", root / "llava-3d", tmp_path / f"seed-{seed}", seed=seed)
        drawn = load_file(tmp_path / f"seed-{seed}" / "model.safetensors")
        name = "cross_task_adapter.bridge_tokens"
        assert torch.equal(drawn[name], weights[name]) == (seed == 0)


def test_converted_teachers_and_other_dtypes(teachers, start, tmp_path):
    root = teachers[0]
    convert("vggt", root / "vggt", tmp_path / "vggt")
    convert("llava-3d", root / "llava-3d", tmp_path / "llava-3d")
    init_from_teachers(
        tmp_path / "vggt", tmp_path / "llava-3d", tmp_path / "start", dtype="bfloat16"
    )
    half = load_model(str(tmp_path / "start"))[0].state_dict()
    whole = load_model(str(start[0]))[0].state_dict()
    assert half.keys() == whole.keys()
    for name, tensor in whole.items():
        assert half[name].dtype == torch.bfloat16
        torch.testing.assert_close(half[name].float(), tensor, rtol=0.01, atol=1e-4)


def test_tokenizers_without_a_template_get_vicunas(teachers, tmp_path):
    root = teachers[0]
    shutil.copytree(root / "llava-3d", tmp_path / "llava-3d")
    (tmp_path / "llava-3d" / "chat_template.jinja").unlink()
    init_from_teachers(root / "vggt", tmp_path / "llava-3d", tmp_path / "start")
    processor = VidLLMProcessor.from_pretrained(tmp_path / "start")
    assert (processor.chat_template or processor.tokenizer.chat_template) == CHAT_TEMPLATE
    prompt = processor.tokenizer.decode([*processor.prefix_ids(), *processor.question_ids("Why?")])
    assert prompt.startswith("A chat between a curious user")
    assert prompt.endswith("answers to the user's questions. USER: <video>\nWhy? ASSISTANT:")


def test_full_size_is_the_papers():
    """Names and shapes on the meta device: all of VGGT-1B, LLaVA-3D-7B and the paper's model."""
    configs = VGGTConfig(), LLaVA3DConfig()
    with torch.device("meta"):
        own = {"vggt": VGGT(configs[0]).state_dict(), "llava-3d": LLaVA3D(configs[1]).state_dict()}
        model = VidLLMForConditionalGeneration(config_of_teachers(*configs)).state_dict()
        expected = VidLLMForConditionalGeneration(paper()).state_dict()
    assert {n: t.shape for n, t in model.items()} == {n: t.shape for n, t in expected.items()}
    taken = account_for(model, own)
    new = [name for names in taken.values() for name in names.values()]
    assert len(new) == len(set(new))
    assert {*new} | {n for n in model if n.startswith(INITIALISED)} == {*model}
    config, recipe = (c.to_dict() for c in (config_of_teachers(*configs), paper()))
    for part in ("adapter", "global_frame_attention", "camera_head", "dense_head"):
        assert config[part] == config[part] | recipe[part], part
    for part in ("num_frames", "short_side", "metric_taps"):
        assert config[part] == recipe[part], part


def test_what_does_not_go_together_is_refused(teachers, tmp_path):
    root, vggt, llava_3d = teachers
    with pytest.raises(UsageError, match="exists: name a new folder"):
        init_from_teachers(root / "vggt", root / "llava-3d", root)
    with pytest.raises(VidLLMError, match="llava-3d in"):
        init_from_teachers(root / "vggt", root / "vggt", tmp_path / "start")
    own = {"vggt": vggt.state_dict(), "llava-3d": llava_3d.state_dict()}
    config = config_of_teachers(vggt.config, llava_3d.config)
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(config).state_dict()
    strange = own["vggt"] | {"normal_head.weight": torch.ones(1)}
    with pytest.raises(VidLLMError, match=r"vggt: normal_head\.weight is neither taken nor left"):
        account_for(model, own | {"vggt": strange})
    lacking = {n: t for n, t in own["llava-3d"].items() if n != "projector.0.bias"}
    with pytest.raises(VidLLMError, match=r"1 missing \(patch_3d\.projector\.0\.bias\)"):
        account_for(model, own | {"llava-3d": lacking})
    assert not (tmp_path / "start").exists()
