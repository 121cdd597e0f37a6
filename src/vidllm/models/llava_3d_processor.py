"""Pictures and prompts in the form that LLaVA-3D was trained on (LLaVA's ``v1`` conversation).

As in `vidllm.models.processor`, a prompt is cut in two at the question, so that keys and values of
the first part can be kept. Text between placeholders is tokenised piece by piece, as in training.
"""

import re

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vidllm.models.llava_3d import IMAGE_TOKEN_ID, PLACE_TOKEN_ID
from vidllm.types import Frames, UsageError

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
IMAGE_TOKEN = "<image>"
PLACE_TOKEN = "<boxes>"
DESCRIBE_SCENE = "Describe the room concisely."
DESCRIBE_PLACE = f"The related object is located at {PLACE_TOKEN}. Describe the object in detail."
NUM_FRAMES = 20
"""That LLaVA-3D samples from a video."""
MAX_QUESTION_TOKENS = 1024
"""A longer question is refused: 2560 visual tokens and the answer must fit the context of 4096."""


class LLaVA3DProcessor:
    """Resizes frames, builds and tokenises prompts.

    Args:
        tokenizer: Vicuna's, with a token that begins a text.
        num_frames: Frames sampled from a video.
        image_size: Side of the encoder's images, pixels.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_frames: int = NUM_FRAMES,
        image_size: int = 336,
    ) -> None:
        self.tokenizer = tokenizer
        self.num_frames = num_frames
        self.image_size = image_size

    def prepare_images(self, frames: Frames) -> Float[Tensor, "S 3 H H"]:
        """The middle square of each frame in the encoder's size, RGB in [0, 1]."""
        side = self.image_size
        (width, height), (left, top) = self._resized(frames)
        squares = [
            np.asarray(
                Image.fromarray(image)
                .resize((width, height), Image.Resampling.BICUBIC)
                .crop((left, top, left + side, top + side))
            )
            for image in frames.images
        ]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255

    def pixels_in_frames(self, frames: Frames) -> tuple[Float[np.ndarray, "H"], ...]:
        """Columns and rows of the prepared images in pixels of the frames, centres at integers."""
        height, width = frames.images.shape[1:3]
        resized, corner = self._resized(frames)
        side = np.arange(self.image_size)
        return tuple(
            (side + first + 0.5) * (whole / new) - 0.5
            for first, whole, new in zip(corner, (width, height), resized, strict=True)
        )

    def _resized(self, frames: Frames) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size (width, height) of resized frames and the corner of their middle square."""
        height, width = frames.images.shape[1:3]
        short = min(height, width)
        size = (self.image_size * width // short, self.image_size * height // short)
        return size, tuple((side - self.image_size) // 2 for side in size)

    def prefix_ids(self, num_visual_tokens: int = 1) -> Int[Tensor, "L"]:
        """Everything before the question, with that many image placeholders."""
        start = self.tokenizer.bos_token_id
        ids = ([] if start is None else [start]) + self._tokens(f"{SYSTEM} USER: ")
        return torch.tensor(ids + [IMAGE_TOKEN_ID] * num_visual_tokens)

    def question_ids(self, question: str, answer_start: str = "") -> Int[Tensor, "L"]:
        """The question and the opening of the assistant's turn; ``<boxes>`` stands for a place.

        Raises:
            UsageError: When the question is empty or longer than `MAX_QUESTION_TOKENS`.
        """
        if not question.strip():
            raise UsageError("the question is empty: ask something about the video")
        question = question.replace(IMAGE_TOKEN, "")
        if len(question) > 16 * MAX_QUESTION_TOKENS:  # no token is longer on average
            raise UsageError(
                f"the question has {len(question):,} characters: "
                f"shorten it to at most {MAX_QUESTION_TOKENS} tokens"
            )
        pieces = re.split(f"({PLACE_TOKEN})", f"\n{question} ASSISTANT:")
        ids = [self._tokens(p) if p != PLACE_TOKEN else [PLACE_TOKEN_ID] for p in pieces]
        ids = [*(i for piece in ids for i in piece), *self._tokens(answer_start)]
        if len(ids) > MAX_QUESTION_TOKENS:
            raise UsageError(
                f"the question has {len(ids):,} tokens: shorten it to {MAX_QUESTION_TOKENS}"
            )
        return torch.tensor(ids)

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids
