"""Compiled blocks: no graph break, one graph for all layers of a kind, the same results."""

import pytest
import torch
from small_llava_3d import make_vggt
from small_model import make_model
from torch._dynamo.utils import counters

from vidllm.models.compilation import compile_blocks


@pytest.fixture(autouse=True)
def fresh_compiler(request):
    if request.config.getoption("jaxtyping_packages", None):
        pytest.skip("run-time shape checks cannot be compiled")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def test_vggt_has_no_graph_break_and_shares_graphs():
    """``fullgraph`` raises at a graph break, and where the recompilation limit is hit."""
    images = torch.rand(2, 3, 42, 56, generator=torch.Generator().manual_seed(0))
    model, plain = make_vggt(vit_depth=3), make_vggt(vit_depth=3)
    names = list(model.state_dict())
    assert compile_blocks(model, fullgraph=True, backend="eager") == 3 + 2 * 4
    with torch.no_grad():
        outputs, expected = model(images), plain(images)
        assert not counters["graph_break"]
        assert counters["stats"]["unique_graphs"] <= 3  # encoder, frame and global blocks
        for name, tensor in expected.items():
            torch.testing.assert_close(outputs[name], tensor)
    assert list(model.state_dict()) == names


@pytest.mark.slow
def test_new_sizes_soon_compile_nothing_more():
    model, plain = make_vggt(), make_vggt()
    compile_blocks(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for size in ((2, 42, 56), (3, 56, 42), (4, 28, 70)):
            images = torch.rand(size[0], 3, *size[1:])
            torch.testing.assert_close(model(images)["depth"], plain(images)["depth"])
        graphs = counters["stats"]["unique_graphs"]
        model(torch.rand(5, 3, 70, 56))
    assert counters["stats"]["unique_graphs"] == graphs  # sizes are symbolic by now


def test_a_vid_llm_compiles_and_reconstructs_the_same():
    images = torch.rand(1, 2, 3, 56, 70, generator=torch.Generator().manual_seed(0))
    model, plain = make_model(), make_model()
    assert compile_blocks(model, fullgraph=True, backend="eager") == 4 + 2 * 4
    with torch.no_grad():
        geometry, expected = (m.encode_scene(images).geometry for m in (model, plain))
    torch.testing.assert_close(geometry.depth, expected.depth)
    assert not counters["graph_break"]


def test_nothing_is_asked_of_the_device_on_the_way():
    """On the meta device reading a value raises, as it would wait for a GPU elsewhere."""
    with torch.device("meta"):
        model = make_vggt()
        outputs = model(torch.rand(3, 3, 42, 56))
        assert outputs["depth"].shape == (1, 3, 42, 56, 1)
        with pytest.raises(RuntimeError):
            int(torch.arange(3).max())
