"""Camera head: the untrained camera, what is detached, and where the ReLU acts."""

import torch

from vidllm.geometry.camera import decode_pose_enc
from vidllm.models.camera_head import CameraHead, CameraHeadConfig


def build() -> CameraHead:
    torch.manual_seed(0)
    return CameraHead(CameraHeadConfig(embed_dim=32, num_heads=4, trunk_depth=2))


def test_untrained_camera_is_sane():
    stages = build()(torch.randn(2, 3, 32))
    assert [stage.shape for stage in stages] == [(2, 3, 9)] * 4
    expected = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1]).expand(2, 3, -1)
    torch.testing.assert_close(stages[-1], expected, atol=0.1, rtol=0)
    extrinsics, _ = decode_pose_enc(stages[-1], (28, 42))
    torch.testing.assert_close(extrinsics, torch.eye(3, 4).expand(2, 3, -1, -1), atol=0.1, rtol=0)


def test_field_of_view_is_rectified_only_on_the_way_out():
    head = build()
    with torch.no_grad():
        head.pose_branch.fc2.weight.zero_()
        head.pose_branch.fc2.bias.fill_(-1.0)
    stages = head(torch.randn(1, 2, 32))
    for index, stage in enumerate(stages, start=1):
        assert (stage[..., :7] == -index).all()
        assert (stage[..., 7:] == 0).all()


def test_no_gradient_flows_through_earlier_iterations():
    head, bias = build(), []
    for index in range(2):
        stage = head(torch.randn(1, 2, 32))[index]
        parameters = (head.empty_pose, head.pose_branch.fc2.bias)
        used = torch.autograd.grad(stage.sum(), parameters, allow_unused=True)
        assert (used[0] is None) == (index == 1)
        bias.append(used[1])
    assert torch.equal(bias[0], torch.full((9,), 2.0))  # one correction for each of two frames
    assert torch.equal(bias[1], bias[0])


def test_frames_see_each_other():
    head, tokens = build(), torch.randn(1, 3, 32)
    for block in head.trunk:
        torch.nn.init.ones_(block.layer_scale1.gamma)
    changed = tokens.clone()
    changed[:, 2] = torch.randn(32)
    difference = head(tokens)[-1][:, 0] - head(changed)[-1][:, 0]
    assert difference.abs().max() > 1e-6


def test_autocast_is_ignored():
    head, tokens = build(), torch.randn(1, 3, 32)
    expected = head(tokens)[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(tokens)[-1], expected)
