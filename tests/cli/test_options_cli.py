"""Options that models share: refused in one line before anything large is loaded."""

import pytest

from vidllm.cli import main

PUBLIC = ["--model", "nowhere-vggt+nowhere-llava"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PUBLIC, "give one of --scale"),
        ([*PUBLIC, "--scale", "2", "--metric-depth", "tiny"], "give one of --scale"),
        ([*PUBLIC, "--scale", "-1"], "--scale must be positive"),
        ([*PUBLIC, "--metric-depth", "nowhere-depth"], "no depth network 'nowhere-depth'"),
        ([*PUBLIC, "--scale", "1"], "nowhere-vggt is not there"),
        (["--metric-depth", "tiny"], "other models find the scale"),
        ([*PUBLIC, "--scale", "1", "--focal-length", "600"], "VGGT finds the lens"),
        (["--focal-length", "0"], "--focal-length must be positive"),
        (["--num-frames", "0"], "--num-frames must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_said(options, said, capsys):
    assert main(["ask", "video.mp4", "What is here?", *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("vidllm: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_blocks_are_compiled_where_asked(monkeypatch, small_pipeline):
    from vidllm.cli.options import Common
    from vidllm.inference.pipeline import Pipeline
    from vidllm.models import compilation

    compiled = []
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *args, **options: small_pipeline)
    monkeypatch.setattr(compilation, "compile_blocks", compiled.append)
    assert Common().load() is small_pipeline
    assert compiled == []
    assert Common(compile=True).load() is small_pipeline
    assert compiled == [small_pipeline.model]
