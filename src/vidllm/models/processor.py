"""`VidLLMProcessor`: video and text to model inputs, and the prompt's fixed form.

A prompt is cut in two at the question. The *prefix* (system line, the video) is the same for every
question about a scene, so its keys and values can be kept; prefix and suffix are always tokenised
apart, hence an answer from the cache equals one computed anew.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from vidllm.models.config import SPECIAL_TOKENS, VidLLMConfig
from vidllm.types import Frames, UsageError
from vidllm.video import fit_to_patches, sample_frames

VIDEO_TOKEN, LOC_TOKEN, COORD_TOKEN = SPECIAL_TOKENS
DESCRIBE_SCENE = "Describe this room."
DESCRIBE_PLACE = f"Describe the object at {COORD_TOKEN}."
GROUND = "Locate: {text}"
MAX_QUESTION_TOKENS = 2048
"""A longer question is refused."""
MAX_ASPECT = 3
"""Longer panoramas are made smaller than the short side asks, so that memory stays bounded."""
_QUESTION_MARK = "\x00"


class VidLLMProcessor(ProcessorMixin):
    """Samples and resizes frames, builds and tokenises prompts.

    Args:
        tokenizer: The language model's; the three special tokens are added when missing.
        num_frames: Frames sampled from a video.
        short_side: Short side in pixels before the crop to whole patches.
        patch_size: Of the encoder.
        chat_template: Overrides the tokenizer's.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_frames: int = 16,
        short_side: int = 224,
        patch_size: int = 14,
        chat_template: str | None = None,
    ) -> None:
        tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
        super().__init__(tokenizer, chat_template=chat_template)
        self.num_frames = num_frames
        self.short_side = short_side
        self.patch_size = patch_size

    @classmethod
    def from_config(
        cls, config: VidLLMConfig, tokenizer: PreTrainedTokenizerBase
    ) -> "VidLLMProcessor":
        """The processor that belongs to a model; token ids must agree.

        Raises:
            ValueError: When the tokenizer numbers the special tokens differently.
        """
        processor = cls(
            tokenizer,
            num_frames=config.num_frames,
            short_side=config.short_side,
            patch_size=config.vision_config.patch_size,
        )
        expected = [config.video_token_id, config.loc_token_id, config.coord_token_id]
        found = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
        if found != expected:
            raise ValueError(f"special tokens have ids {found}, the config says {expected}")
        return processor

    def __call__(
        self,
        videos: str | Frames | list | None = None,
        text: str | None = None,
        answer: str | None = None,
        **sampling,
    ) -> BatchFeature:
        """One video and one question to model inputs.

        Args:
            videos: Path, list of images or `Frames`.
            text: The question.
            answer: Training target; adds ``labels`` with loss on the answer only.
            **sampling: Passed to `vidllm.video.sample_frames`.

        Returns:
            ``images`` [1, S, 3, H, W], ``input_ids``, ``attention_mask`` and ``labels`` [1, L].
        """
        data = {}
        if videos is not None:
            sampling.setdefault("num_frames", self.num_frames)
            frames = videos if isinstance(videos, Frames) else sample_frames(videos, **sampling)
            data["images"] = self.prepare_images(frames)[None]
        if text is not None:
            prefix = self.prefix_ids()
            if answer is not None:
                ids, labels = self.turn_ids(text, answer)
                data["labels"] = torch.cat([torch.full_like(prefix, -100), labels])[None]
            else:
                ids = self.question_ids(text)
            ids = torch.cat([prefix, ids])
            data["input_ids"] = ids[None]
            data["attention_mask"] = torch.ones_like(ids)[None]
        return BatchFeature(data)

    def prepare_images(self, frames: Frames) -> Float[Tensor, "S 3 H W"]:
        """Resize and crop to whole patches; RGB in [0, 1]."""
        images, _ = fit_to_patches(
            frames.images,
            short_side=self.short_side,
            patch_size=self.patch_size,
            max_long_side=MAX_ASPECT * self.short_side,
        )
        return images

    def prefix_ids(self, num_visual_tokens: int = 1) -> Int[Tensor, "L"]:
        """Everything before the question, with that many ``<video>`` placeholders."""
        before, _ = self._template()
        return self._encode(before.replace(VIDEO_TOKEN, VIDEO_TOKEN * num_visual_tokens))

    def question_ids(self, question: str) -> Int[Tensor, "L"]:
        """The question and the opening of the assistant's turn.

        Raises:
            UsageError: When the question is empty or longer than `MAX_QUESTION_TOKENS`.
        """
        if not question.strip():
            raise UsageError("the question is empty: ask something about the video")
        if len(question) > 16 * MAX_QUESTION_TOKENS:  # no token is longer on average
            raise UsageError(
                f"the question has {len(question):,} characters: "
                f"shorten it to at most {MAX_QUESTION_TOKENS} tokens"
            )
        _, after = self._template()
        for token in (VIDEO_TOKEN, LOC_TOKEN):
            question = question.replace(token, "")
        ids = self._encode(question + after)
        if len(ids) > MAX_QUESTION_TOKENS:
            raise UsageError(
                f"the question has {len(ids):,} tokens: shorten it to {MAX_QUESTION_TOKENS}"
            )
        return ids

    def turn_ids(self, question: str, answer: str) -> tuple[Int[Tensor, "L"], Int[Tensor, "L"]]:
        """A question with its answer, and labels: loss on the answer and what closes it only."""
        asked = self.question_ids(question)
        answered = self._encode(answer + self.end_of_turn)
        labels = torch.cat([torch.full_like(asked, -100), answered])
        return torch.cat([asked, answered]), labels

    @property
    def end_of_turn(self) -> str:
        """What closes an answer."""
        return self.tokenizer.eos_token

    def _template(self) -> tuple[str, str]:
        """Prompt text before and after the question."""
        turns = [{"role": "user", "content": f"{VIDEO_TOKEN}\n{_QUESTION_MARK}"}]
        prompt = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=self.chat_template or self.tokenizer.chat_template,
        )
        before, after = prompt.split(_QUESTION_MARK)
        return before, after

    def _encode(self, text: str) -> Int[Tensor, "L"]:
        return self.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]


AutoProcessor.register(VidLLMConfig, VidLLMProcessor)
