"""The rules of the source tree, read from the files: which way imports run, sizes, names."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "vidllm"
FILES = sorted(SOURCE.rglob("*.py"))

BASE = {"types"}
LIBRARY = BASE | {"video", "geometry"}
TOP = LIBRARY | {"models", "losses", "data", "rooms", "export", "inference", "recipes"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "types": set(),
    "video": BASE,
    "geometry": BASE,
    "models": LIBRARY,
    "losses": LIBRARY,
    "data": LIBRARY,
    "rooms": LIBRARY,
    "export": BASE | {"geometry"},
    "training": LIBRARY | {"models", "losses", "data", "rooms"},
    "evaluation": LIBRARY | {"models", "losses", "data", "rooms", "inference"},
    "inference": LIBRARY | {"models", "losses", "data", "recipes", "export"},
    "recipes": BASE | {"models"},
    "serve": TOP,
    "app": TOP,
    "cli": TOP,
}
"""Layer -> the layers that it may import when it is itself imported (besides itself)."""

LAZY = {"serve", "app", "cli"}
"""Layers that may import any other, inside functions."""

HEAVY = {"torch", "transformers", "peft", "scipy", "trimesh", "av", "gradio", "viser"}
FORBIDDEN = {"torchvision", "timm"}
MAX_FILE, MAX_FUNCTION, MAX_ARGUMENTS = 400, 50, 8

by_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))


def layer_of(module: str) -> str:
    """``vidllm.models.rope`` -> ``models``; the package itself -> ``__init__``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = ["vidllm", *path.relative_to(SOURCE).with_suffix("").parts]
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, bool, bool]]:
    """Yields (absolute module, inside a function, under TYPE_CHECKING) for every import."""

    def visit(node: ast.AST, lazy: bool, typing: bool) -> Iterator[tuple[str, bool, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "vidllm" else [base]
            yield from ((name, lazy, typing) for name in names)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = typing or is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy, typing)

    yield from visit(tree, False, False)


def imports_of(path: Path) -> list[tuple[str, bool, bool]]:
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return list(imports(ast.parse(path.read_text()), package))


def wrong_imports(layer: str, found: list[tuple[str, bool, bool]]) -> list[str]:
    """Imports of ours that the layer may not make."""
    wrong = []
    for module, lazy, typing in found:
        if module.split(".")[0] != "vidllm":
            continue
        target = layer_of(module)
        allowed = target in MAY_IMPORT[layer] | {layer}
        excused = (lazy and layer in LAZY) or (typing and layer in LAZY | {"__init__"})
        if not allowed and not excused:
            wrong.append(module)
    return wrong


@by_file
def test_imports_run_one_way(path: Path):
    layer = layer_of(module_of(path))
    assert layer in MAY_IMPORT, f"{path} is in no layer of the layout"
    assert wrong_imports(layer, imports_of(path)) == []


@by_file
def test_no_forbidden_library(path: Path):
    roots = {module.split(".")[0] for module, _, _ in imports_of(path)}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize(
    ("layer", "source", "wrong"),
    [
        ("geometry", "from vidllm.models import rope", ["vidllm.models"]),
        ("geometry", "def f():\n    import vidllm.video.decode", ["vidllm.video.decode"]),
        ("models", "from vidllm import training", ["vidllm.training"]),
        ("models", "from ..losses.distillation import x", ["vidllm.losses.distillation"]),
        ("models", "from . import rope\nfrom vidllm.types import Box3D", []),
        ("cli", "def f():\n    from vidllm.training import trainer", []),
        ("cli", "from vidllm.training import trainer", ["vidllm.training"]),
        ("__init__", "if TYPE_CHECKING:\n    from vidllm.types import Box3D", []),
        ("__init__", "from vidllm.types import Box3D", ["vidllm.types"]),
    ],
)
def test_the_rule_catches_wrong_imports(layer: str, source: str, wrong: list[str]):
    package = "vidllm" if layer == "__init__" else f"vidllm.{layer}"
    assert wrong_imports(layer, list(imports(ast.parse(source), package))) == wrong


@by_file
def test_files_functions_and_arguments_are_small(path: Path):
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= MAX_FILE, f"{lines} lines, at most {MAX_FILE}"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = node.end_lineno - node.lineno + 1
        assert length <= MAX_FUNCTION, f"{node.name}: {length} lines, at most {MAX_FUNCTION}"
        names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in names)
        assert count <= MAX_ARGUMENTS, f"{node.name}: {count} arguments, at most {MAX_ARGUMENTS}"


@by_file
def test_files_are_named_for_what_they_hold(path: Path):
    assert path.stem not in {"utils", "helpers", "misc", "common", "util"}


def test_importing_the_package_and_its_commands_is_light():
    """What `vidllm --help` imports must not include the libraries that take seconds."""
    code = (
        "import sys, vidllm, vidllm.cli, vidllm.cli.doctor, vidllm.models.pretrained\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "vidllm" in loaded
    assert not loaded & HEAVY
