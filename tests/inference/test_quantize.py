"""Weights in eight bits: smaller, nearly the same answers, and clear words where it cannot be."""

import pytest
import torch
from small_model import make_model

from vidllm.inference import quantize
from vidllm.inference.quantize import quantize_language_model
from vidllm.types import UsageError


def test_int8_changes_logits_little_and_only_inside_the_decoder():
    pytest.importorskip("torchao")
    plain, model = make_model(), make_model()
    language_model = model.language_model
    assert quantize_language_model(language_model, "int8") == 2 * 7
    for name, parameter in plain.language_model.named_parameters():
        changed = type(language_model.get_parameter(name).data) is not torch.Tensor
        assert changed == (name.endswith("proj.weight")), name
        if not changed:
            torch.testing.assert_close(language_model.get_parameter(name), parameter)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        logits, expected = language_model(ids).logits, plain.language_model(ids).logits
    error = float((logits - expected).norm() / expected.norm())
    assert 0 < error < 0.02


def test_what_is_lacking_is_said(monkeypatch):
    model = make_model()
    with monkeypatch.context() as patch:
        patch.setattr(quantize, "find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r"pip install 'vidllm\[quantize\]'"):
            quantize_language_model(model.language_model, "int8")
    monkeypatch.setattr(quantize, "find_spec", lambda name: True)
    with pytest.raises(UsageError, match="int4 needs --device cuda"):
        quantize_language_model(model.language_model, "int4")
