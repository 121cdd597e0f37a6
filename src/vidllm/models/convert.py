"""Released weights to this package's names and back, tensor by tensor.

Every tensor is accounted for: names and shapes on both sides must be exactly those of the model,
and what has no counterpart here (VGGT's track head, constants that old versions saved) is kept
under ``unused.``, so that going there and back loses nothing. Values change only where another
dtype is asked for. One shard of the result is in memory at a time.

===========  ===================================  ==============================================
kind         official names                       this package's
===========  ===================================  ==============================================
vggt         facebook/VGGT-1B                     `VGGT`
llava-3d     ChaimZhu/LLaVA-3D-7B                 `LLaVA3D`
dinov2       dinov2_vit*14[_reg4]_pretrain.pth    a folder for `AutoModel.from_pretrained`, under
                                                  the names of Hugging Face's own files
===========  ===================================  ==============================================
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor

from vidllm.models.dinov2_weights import dinov2_architecture
from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.llava_3d_weights import (
    DERIVED,
    llava_3d_config_from_official,
    llava_3d_config_to_official,
    llava_3d_from_official,
    llava_3d_to_official,
)
from vidllm.models.official_weights import check_weights, vggt_from_official, vggt_to_official
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.models.weight_files import WeightFiles, sha256_of, write_shards
from vidllm.types import UsageError, VidLLMError

Kind = Literal["vggt", "llava-3d", "dinov2"]
Side = Literal["vidllm", "official"]
Dtype = Literal["keep", "float32", "float16", "bfloat16"]
Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

UNUSED = "unused."
"""In front of the official name of a tensor without a counterpart."""
MANIFEST = "vidllm-source.json"
"""Says what a folder was converted from."""
MAX_SHARD_BYTES = 2 * 10**9
_TOKENIZER_FILES = (
    *("tokenizer.model", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "generation_config.json"),
)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a model's weights are called here and officially, and how to get from one to other."""

    own: dict[str, Tensor]
    """All weights under this package's names, on the meta device."""
    to_official: Renaming
    from_official: Renaming
    own_config: dict
    """For ``config.json`` of this package's side."""
    official_config: dict
    """For ``config.json`` of the official side."""
    is_unused: Callable[[str], bool] = lambda name: False
    """Whether the official tensor of that name has no counterpart here."""

    def pieces(self) -> list["Piece"]:
        """The smallest parts that convert alone."""
        official = self.to_official(self.own)
        return [
            Piece((name,), tuple(self.from_official({name: t}))) for name, t in official.items()
        ]


class Piece(NamedTuple):
    """Tensors that hold the same values on both sides, by name."""

    official: tuple[str]
    vidllm: tuple[str, ...]
    unused: bool = False


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was done."""

    kind: Kind
    to: Side
    dtype: Dtype
    destination: str
    tensors: int
    """Written, without the unused ones."""
    parameters: int
    unused: list[str]
    """Official names of what has no counterpart here; kept for the way back."""
    source_sha256: dict[str, str]
    sha256: dict[str, str]
    """Of each weight file written."""


def convert(
    kind: Kind,
    source: str | Path,
    destination: str | Path,
    *,
    to: Side = "vidllm",
    dtype: Dtype = "keep",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Conversion:
    """Convert a model's weights into a new folder.

    Args:
        kind: Of the model.
        source: Weight file or folder; ``config.json`` beside it is read.
        destination: Folder to make; it must not exist, or be empty.
        to: ``official`` turns a folder that was converted before back.
        dtype: Of the result.
        max_shard_bytes: Size of a file of weights.

    Raises:
        UsageError: There are no weights at the source, or the destination is taken.
        VidLLMError: A file is damaged, or the weights are not those of such a model.
    """
    destination = Path(destination)
    refuse_taken(destination)
    files = WeightFiles(source)
    architecture = read_architecture(kind, files, converted=to == "official")
    pieces = account(kind, files, architecture, to)
    tensors = _converted(files, architecture, pieces, to, dtype)
    with new_folder(destination) as folder:
        conversion = Conversion(
            kind=kind,
            to=to,
            dtype=dtype,
            destination=str(destination),
            tensors=sum(len(getattr(p, to)) for p in pieces if not p.unused),
            parameters=sum(t.numel() for t in architecture.own.values()),
            unused=[piece.official[0] for piece in pieces if piece.unused],
            source_sha256={file.name: sha256_of(file) for file in files.files},
            sha256=write_shards(tensors, folder, max_bytes=max_shard_bytes),
        )
        _write_companions(folder, files, architecture, conversion)
    return conversion


def refuse_taken(destination: Path) -> None:
    """Raise `UsageError` unless the folder is still to be made, or empty."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} exists: name a new folder")


@contextmanager
def new_folder(destination: Path) -> Generator[Path]:
    """A folder beside the destination, which takes its name when all went well."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".vidllm-") as scratch:
            folder = Path(scratch) / destination.name
            folder.mkdir()
            yield folder
            os.replace(folder, destination)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VidLLMError(f"cannot write {destination}: {reason}") from error


@dataclass(frozen=True, kw_only=True)
class OpenedWeights:
    """A model's weights under this package's names, from either side's files."""

    files: WeightFiles
    config: dict
    """Fields of the model's configuration."""
    own: dict[str, Tensor]
    """All weights, on the meta device."""
    unused: list[str]
    """Official names of what has no counterpart here."""
    tensors: Iterator[dict[str, Tensor]]
    """The weights, a few at a time, each once."""


def open_weights(kind: Kind, source: str | Path, *, dtype: Dtype = "keep") -> OpenedWeights:
    """Account for a model's weights without reading their values.

    Raises:
        UsageError: There are no weights at the source.
        VidLLMError: A file is damaged, or the weights are not those of such a model.
    """
    files = WeightFiles(source)
    converted = files.config.get("model_type") == f"vidllm-{kind}"
    architecture = read_architecture(kind, files, converted=converted)
    pieces = account(kind, files, architecture, "official" if converted else "vidllm")
    used = [piece for piece in pieces if not piece.unused]
    if converted:
        tensors = ({name: _cast(files[name], dtype, name)} for name in architecture.own)
    else:
        tensors = _converted(files, architecture, used, "vidllm", dtype)
    return OpenedWeights(
        files=files,
        config={k: v for k, v in architecture.own_config.items() if k != "model_type"},
        own=architecture.own,
        unused=[piece.official[0] for piece in pieces if piece.unused],
        tensors=tensors,
    )


def read_weights(
    kind: Kind, source: str | Path, *, dtype: Dtype = "keep"
) -> tuple[dict, dict[str, Tensor]]:
    """The fields of a model's configuration, and its state dict; see `open_weights`."""
    opened = open_weights(kind, source, dtype=dtype)
    return opened.config, {name: t for group in opened.tensors for name, t in group.items()}


def read_architecture(kind: Kind, files: WeightFiles, *, converted: bool) -> Architecture:
    """Find out the model's sizes.

    Args:
        kind: Of the model.
        files: Its weights.
        converted: Whether they lie under this package's names.

    Raises:
        VidLLMError: They are not those of such a model.
    """
    if kind == "dinov2":
        own, to_official, from_official, config = dinov2_architecture(files, converted=converted)
        return Architecture(
            own=own,
            to_official=to_official,
            from_official=from_official,
            own_config=config,
            official_config={},
        )
    read = _vggt if kind == "vggt" else _llava_3d
    fields = dict(files.config)
    model_type = fields.pop("model_type", "")
    if converted and model_type != f"vidllm-{kind}":
        raise VidLLMError(
            f"{files.path} holds no {kind} converted by vidllm: config.json does not say so"
        )
    if not converted and model_type.startswith("vidllm-"):
        raise VidLLMError(f"{files.path} is converted already: use --to official for the way back")
    try:
        with torch.device("meta"):
            return read(fields, files, converted)
    except (TypeError, ValueError, ArithmeticError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise VidLLMError(f"config.json of {files.path} is not one of {kind}: {reason}") from error


def _vggt(fields: dict, files: WeightFiles, converted: bool) -> Architecture:
    """VGGT-1B where ``config.json`` says nothing else."""
    known = {k: v for k, v in fields.items() if k in VGGTConfig.__dataclass_fields__}
    if not converted:
        known["enable_point"] = any(name.startswith("point_head.") for name in files)
    config = VGGTConfig(**known)
    fields = asdict(config)
    return Architecture(
        own=VGGT(config).state_dict(),
        to_official=vggt_to_official,
        from_official=vggt_from_official,
        own_config={"model_type": "vidllm-vggt", **fields},
        official_config=fields,
        is_unused=lambda name: name.startswith("track_head."),
    )


def _llava_3d(fields: dict, files: WeightFiles, converted: bool) -> Architecture:
    config = LLaVA3DConfig(**fields) if converted else llava_3d_config_from_official(fields)
    return Architecture(
        own=LLaVA3D(config).state_dict(),
        to_official=llava_3d_to_official,
        from_official=llava_3d_from_official,
        own_config={"model_type": "vidllm-llava-3d", **asdict(config)},
        official_config=llava_3d_config_to_official(config),
        is_unused=lambda name: name.endswith(DERIVED),
    )


def account(kind: Kind, files: WeightFiles, architecture: Architecture, to: Side) -> list[Piece]:
    """Account for every tensor of the files, on both sides.

    Raises:
        VidLLMError: A name is missing, left over, or of the wrong shape or dtype.
    """
    if to == "vidllm":
        unused = {name for name in files if architecture.is_unused(name)}
        expected = architecture.to_official(architecture.own)
    else:
        unused = {name for name in files if name.startswith(UNUSED)}
        expected = architecture.own
    given = {name: tensor for name, tensor in files.meta.items() if name not in unused}
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    check_weights(given, shapes, f"{kind} in {files.path}")
    files.require_floats(given)
    names = sorted(name.removeprefix(UNUSED) for name in unused)
    return architecture.pieces() + [Piece((n,), (UNUSED + n,), unused=True) for n in names]


def _converted(
    files: WeightFiles, architecture: Architecture, pieces: list[Piece], to: Side, dtype: Dtype
) -> Iterator[dict[str, Tensor]]:
    """The pieces under their new names, in order."""
    source: Side = "official" if to == "vidllm" else "vidllm"
    rename = architecture.from_official if to == "vidllm" else architecture.to_official
    for piece in pieces:
        tensors = {name: files[name] for name in getattr(piece, source)}
        if piece.unused:
            yield {getattr(piece, to)[0]: tensor.clone() for tensor in tensors.values()}
            continue
        renamed = rename({name: _cast(tensor, dtype, name) for name, tensor in tensors.items()})
        yield {name: tensor.contiguous().clone() for name, tensor in renamed.items()}


def _cast(tensor: Tensor, dtype: Dtype, name: str) -> Tensor:
    if dtype == "keep":
        return tensor
    cast = tensor.to(getattr(torch, dtype))
    if not torch.equal(cast.isfinite(), tensor.isfinite()):
        raise VidLLMError(f"{name} has values beyond {dtype}'s range: use --dtype bfloat16")
    return cast


def _write_companions(
    folder: Path, files: WeightFiles, architecture: Architecture, conversion: Conversion
) -> None:
    """``config.json``, the manifest, and the tokenizer that lies beside the source."""
    own = conversion.to == "vidllm"
    config = architecture.own_config if own else architecture.official_config
    if config:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    manifest = asdict(conversion) | {"source": str(files.path.name)}
    del manifest["destination"]
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    beside = files.path if files.path.is_dir() else files.path.parent
    for name in _TOKENIZER_FILES if conversion.kind == "llava-3d" else ():
        if (beside / name).is_file():
            shutil.copyfile(beside / name, folder / name)
