"""Does a model read what its patches say? Answers with words and places predicted, true, left out.

    python benchmarks/reading.py --model weights/tiny --data data/test-seen data/test-unseen

Where true words answer no better than none, the language model does not read its patches, and
better eyes would not help; where they answer much better than predicted ones, eyes are the limit.
Frames and questions are those of ``vidllm train --validate``. Writes a dated report.
"""

import argparse
import datetime
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from training_runs import REPOSITORY, machine

from vidllm.inference.loading import load_trained
from vidllm.models.outputs import FrameFeatures, SceneEncoding
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.batch import Batch, Collator
from vidllm.training.objective import CERTAIN, answer_turns, certain_words, true_places
from vidllm.training.recipes import tiny_cpu
from vidllm.training.validation import Scores, Validation, answer_scores

VARIANTS = (("predicted", "predicted"), ("predicted", "true"), ("true", "true"), ("no", "true"))
"""Words and places."""


def word_scores(logits: Mapping[str, Tensor], batch: Batch) -> Scores:
    """By group, whether the likeliest word of a patch is right, of patches that have one."""
    scores = {}
    for group, values in logits.items():
        truth, none = batch.patch_words[group], values.shape[-1] - 1
        named = (truth >= 0) & (truth < none)
        right = values[named].argmax(dim=-1) == truth[named]
        scores[f"right {group}"] = right.float().tolist()
    return scores


@torch.no_grad()
def scores_of(model: VidLLMForConditionalGeneration, batch: Batch) -> Scores:
    """In all variants."""
    features = model.encode_frames(batch.images)
    scores: Scores = {}
    for words, places in VARIANTS:
        scene = encode(model, features, batch, words, places)
        if words == "predicted":
            scores |= word_scores(scene.word_logits, batch)
        output, text = answer_turns(model, scene, batch)
        answers = answer_scores(output.logits, text, model.config.loc_token_id)
        scores |= {f"{words} words, {places} places/{k}": v for k, v in answers.items()}
    return scores


def encode(
    model: VidLLMForConditionalGeneration,
    features: FrameFeatures,
    batch: Batch,
    words: str,
    places: str,
) -> SceneEncoding:
    """A scene whose patches have these words and places."""
    given = None
    if words != "predicted":
        given = certain_words(batch, model.config.word_anchors_config.groups)
    if words == "no":
        given = {name: none_of(logits) for name, logits in given.items()}
    return model.encode_scene(
        features,
        patch_places=true_places(model, batch, features) if places == "true" else None,
        room_from_world=batch.room_from_world,
        word_logits=given,
        reconstruct=places != "true",
    )


def none_of(logits: Tensor) -> Tensor:
    """The same, all in favour of none of the words."""
    nothing = torch.zeros_like(logits)
    nothing[..., -1] = CERTAIN
    return nothing


def report(means: Mapping[str, float], arguments: argparse.Namespace) -> str:
    """Markdown."""
    names = [folder.resolve().name for folder in arguments.data]
    lines = [
        f"# {datetime.datetime.now(tz=datetime.UTC).date()}: does it read its patches?",
        "",
        f"Command: `python benchmarks/reading.py --model {arguments.model} --data "
        f"{' '.join(map(str, arguments.data))} --scenes {arguments.scenes}`. {machine()}.",
        "Patches are told to the language model by words; here these are the predicted ones, the "
        "true ones, or none. In brackets: loss of an answer's tokens.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(arguments.data),
    ]
    for words, places in VARIANTS:
        row = f"{words} words, {places} places"
        cells = [
            f"{100 * means[f'{name}/{row}/exact_match']:.1f} "
            f"({means[f'{name}/{row}/answer_loss']:.3f})"
            for name in names
        ]
        lines.append(f"| exact match, %: {row} | " + " | ".join(cells) + " |")
    for group in ("category", "color"):
        cells = [f"{100 * means[f'{name}/right {group}']:.1f}" for name in names]
        lines.append(f"| patches whose {group} is right, % | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="trained over tiny's parts")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="Rooms data sets")
    parser.add_argument("--scenes", type=int, default=16, help="of each data set")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks", help="of the report")
    arguments = parser.parse_args()
    model, processor = load_trained(arguments.model)
    stage = tiny_cpu().stages[-1]
    validation = Validation(
        arguments.data,
        stage,
        Collator(processor, stage.turns, model.config.word_anchors_config.groups),
        short_side=model.config.short_side,
        scenes=arguments.scenes,
    )
    text = report(validation.run(partial(scores_of, model)), arguments)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now(tz=datetime.UTC).date()
    (arguments.out / f"{date}-reading.md").write_text(text)


if __name__ == "__main__":
    main()
