"""Word anchors: embeddings of words, mixed by what a patch is taken for."""

import pytest
import torch
from small_model import make_model, make_tokenizer

from vidllm.models.word_anchors import WordAnchors, WordAnchorsConfig

GROUPS = {"category": ["chair", "sofa", "office chair"], "color": ["red", "blue"]}


@pytest.fixture
def anchors() -> WordAnchors:
    torch.manual_seed(0)
    config = WordAnchorsConfig(embed_dim=16, language_dim=12, groups=GROUPS)
    module = WordAnchors(config)
    module.words.normal_()
    return module


def test_words_are_the_mean_of_their_tokens_embeddings():
    model = make_model(word_anchors={"groups": GROUPS})
    assert not model.word_anchors.words.any()
    tokenizer, table = make_tokenizer(), model.get_input_embeddings().weight
    model.word_anchors.read_words(model.get_input_embeddings(), tokenizer)
    names = [word for words in GROUPS.values() for word in words]
    for row, word in zip(model.word_anchors.words, names, strict=True):
        ids = tokenizer.encode(" " + word, add_special_tokens=False)
        assert len(ids) == len(word) + 1  # one a byte
        torch.testing.assert_close(row, torch.stack([table[i] for i in ids]).mean(0))


def test_certain_patches_get_their_words(anchors):
    logits = {"category": torch.full((3, 4), -50.0), "color": torch.full((3, 3), -50.0)}
    logits["category"][0, 2] = logits["color"][0, 1] = 50  # a blue office chair
    logits["category"][1, 0] = logits["color"][1, 2] = 50  # a chair of no colour
    logits["category"][2, 3] = logits["color"][2, 2] = 50  # a wall
    probabilities = anchors.probabilities(logits)
    assert probabilities.shape == (3, 5)
    with torch.no_grad():
        anchors.gain.copy_(torch.tensor([2.0, 3.0]))
    found = anchors.embed(probabilities)
    words = anchors.words
    torch.testing.assert_close(found[0], 2 * words[2] + 3 * words[4])
    torch.testing.assert_close(found[1], 2 * words[0])
    torch.testing.assert_close(found[2], torch.zeros(12))


def test_each_group_gives_its_share_to_none(anchors):
    logits = anchors.logits(torch.randn(2, 7, 16))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "category": (2, 7, 4),
        "color": (2, 7, 3),
    }
    probabilities = anchors.probabilities(logits)
    for group, columns in (("category", slice(0, 3)), ("color", slice(3, 5))):
        shares = logits[group].exp() / logits[group].exp().sum(-1, keepdim=True)
        torch.testing.assert_close(probabilities[..., columns], shares[..., :-1])


def test_answers_teach_classifier_and_gain_but_not_the_words(anchors):
    tokens = torch.randn(5, 16, requires_grad=True)
    anchors.embed(anchors.probabilities(anchors.logits(tokens))).square().sum().backward()
    assert tokens.grad.any()
    assert all(parameter.grad.any() for parameter in anchors.parameters())
    assert "words" in dict(anchors.named_buffers())
    assert "words" in anchors.state_dict()


def test_words_reach_the_visual_tokens():
    model = make_model(word_anchors={"groups": GROUPS})
    images = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    points = torch.rand(1, 32, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model.encode_scene(images, patch_points=points, reconstruct=False).visual_tokens[0]
        model.word_anchors.read_words(model.get_input_embeddings(), make_tokenizer())
        named = model.encode_scene(images, patch_points=points, reconstruct=False).visual_tokens[0]
        changed = (named - plain).abs().amax(dim=-1) > 1e-6
    assert not changed[:4].any()  # bridge tokens stand for no patch
    assert changed[4:].all()
