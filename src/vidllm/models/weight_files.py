"""Weight files of others: read tensor by tensor without running what is in them, written in shards.

Safetensors files and PyTorch's own are read, single or sharded by an index. PyTorch's are pickles,
which can hold programs: they are read with ``weights_only=True``, which refuses anything but
tensors. Whatever is wrong with a file is told in one line that names it.
"""

import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidllm.types import UsageError, VidLLMError

INDEX = "model.safetensors.index.json"
_PICKLED = (".pt", ".pth", ".bin")
_WHOLE = ("model.safetensors", "model.pt", "pytorch_model.bin")
_INDEXED = (INDEX, "pytorch_model.bin.index.json")
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
}
_DAMAGED = "is damaged or incomplete: download it again"


class WeightFiles(Mapping[str, Tensor]):
    """A model's weights by name; a tensor is read when it is asked for.

    Attributes:
        path: What was opened, a file or a folder.
        files: The weight files, in order.
        meta: Every tensor without its values (on the meta device).
        config: ``config.json`` of the folder, empty where there is none.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file, or a folder with ``model.safetensors``, ``model.pt``,
        ``pytorch_model.bin`` or the index of a sharded model.

        Raises:
            UsageError: There is nothing of the kind.
            VidLLMError: A file is missing, damaged, or holds something else than tensors.
        """
        self.path = Path(path)
        self.files, index = _find(self.path)
        folder = self.path if self.path.is_dir() else self.path.parent
        self.config = read_json(folder / "config.json") if _is_file(folder, "config.json") else {}
        self.meta: dict[str, Tensor] = {}
        self._file_of: dict[str, Path] = {}
        self._pickled: dict[Path, dict[str, Tensor]] = {}
        for file in self.files:
            for name, tensor in self._headers(file).items():
                if name in self._file_of:
                    raise VidLLMError(f"{name} is in {self._file_of[name].name} and in {file}")
                self.meta[name], self._file_of[name] = tensor, file
        for name, file in (index or {}).items():
            if self._file_of.get(name) != file:
                raise VidLLMError(f"{file} lacks {name}, which the index says it has")

    def __getitem__(self, name: str) -> Tensor:
        file = self._file_of[name]
        if file in self._pickled:
            return self._pickled[file][name]
        try:
            with safe_open(file, framework="pt") as opened:
                return opened.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise VidLLMError(f"{file} {_DAMAGED} ({name})") from error

    def __iter__(self):
        return iter(self.meta)

    def __len__(self) -> int:
        return len(self.meta)

    def require_floats(self, names: Iterable[str]) -> None:
        """Refuse weights that are stored as integers or in 8 bits.

        Raises:
            VidLLMError: One is; it and its file are named.
        """
        for name in names:
            dtype = self.meta[name].dtype
            if not dtype.is_floating_point or dtype.itemsize < 2:
                raise VidLLMError(
                    f"{self._file_of[name]}: {name} is stored as {_short(dtype)}, not as float32, "
                    "float16 or bfloat16: take weights that are not quantised"
                )

    def _headers(self, file: Path) -> dict[str, Tensor]:
        """Names, shapes and dtypes of one file."""
        if file.suffix in _PICKLED:
            self._pickled[file] = _unpickle(file)
            return {k: torch.empty_like(t, device="meta") for k, t in self._pickled[file].items()}
        headers = {}
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    part = opened.get_slice(name)
                    dtype = _DTYPES.get(part.get_dtype())
                    if dtype is None:
                        raise VidLLMError(f"{file}: {name} has unknown dtype {part.get_dtype()}")
                    headers[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
        except (OSError, SafetensorError) as error:
            raise VidLLMError(f"{file} {_DAMAGED}") from error
        return headers


def write_shards(
    groups: Iterable[Mapping[str, Tensor]], folder: Path, *, max_bytes: int
) -> dict[str, str]:
    """Write tensors to safetensors files in an empty folder, with an index if there are several.

    Args:
        groups: Tensors by name; those of a group are not put in different files.
        folder: Exists.
        max_bytes: Size of a file, unless one group alone is larger. That much is in memory.

    Returns:
        SHA-256 of each file of weights.
    """
    written: list[tuple[Path, list[str]]] = []
    pending: dict[str, Tensor] = {}
    total = 0

    def flush() -> None:
        if pending:
            file = folder / f"part-{len(written)}"
            save_file(pending, file, metadata={"format": "pt"})
            written.append((file, list(pending)))
            pending.clear()

    for group in groups:
        size = sum(t.nbytes for t in group.values())
        if pending and sum(t.nbytes for t in pending.values()) + size > max_bytes:
            flush()
        pending.update(group)
        total += size
    flush()
    digests, places = {}, {}
    for number, (file, names) in enumerate(written, start=1):
        name = f"model-{number:05}-of-{len(written):05}.safetensors"
        name = name if len(written) > 1 else "model.safetensors"
        file.chmod(0o644)
        os.replace(file, folder / name)
        places |= dict.fromkeys(names, name)
        digests[name] = sha256_of(folder / name)
    if len(written) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=1))
    return digests


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _find(path: Path) -> tuple[list[Path], dict[str, Path] | None]:
    """The weight files of a path and, where there is an index, which of them has what."""
    if path.is_file():
        if path.name.endswith(".index.json"):
            return _read_index(path)
        if path.suffix not in (".safetensors", *_PICKLED):
            raise UsageError(f"{path} is no weight file: give .safetensors, .pt, .pth or .bin")
        return [path], None
    if not path.is_dir():
        raise UsageError(f"{path} is not there: give a weight file or its folder")
    for name in _INDEXED:
        if _is_file(path, name):
            return _read_index(path / name)
    for name in _WHOLE:
        if _is_file(path, name):
            return [path / name], None
    raise UsageError(f"{path} holds no weights: expected {', '.join(_WHOLE)} or {INDEX}")


def _is_file(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _read_index(file: Path) -> tuple[list[Path], dict[str, Path]]:
    places = read_json(file).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        places = {}
    if not places:
        raise VidLLMError(f"{file} is no index of weights: it has no weight_map of file names")
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise VidLLMError(f"{file} names {shard!r}, which is not in its folder")
        if not _is_file(file.parent, shard):
            raise VidLLMError(f"{file.parent / shard} is missing: {file.name} lists it")
    files = [file.parent / shard for shard in sorted(set(places.values()))]
    return files, {name: file.parent / shard for name, shard in places.items()}


def read_json(file: Path) -> dict:
    """The object in a JSON file.

    Raises:
        VidLLMError: It cannot be read, or holds something else.
    """
    try:
        fields = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise VidLLMError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise VidLLMError(f"{file} holds no JSON object")
    return fields


def _unpickle(file: Path) -> dict[str, Tensor]:
    """A dictionary of tensors, without running any code in the file."""
    try:
        with file.open("rb") as opened:
            zipped = opened.read(2) == b"PK"  # older files cannot be mapped into memory
        with warnings.catch_warnings(action="ignore"):
            held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():
            raise VidLLMError(f"{file} {_DAMAGED}") from error
        raise VidLLMError(
            f"{file} holds Python objects besides tensors, which are not loaded because they can "
            "run code: ask its author for safetensors"
        ) from error
    except Exception as error:  # other bytes can trip the reader in any way
        raise VidLLMError(f"{file} {_DAMAGED}") from error
    if not isinstance(held, dict) or not all(isinstance(t, Tensor) for t in held.values()):
        raise VidLLMError(f"{file} is no plain dictionary of tensors: give the weights alone")
    return held


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
