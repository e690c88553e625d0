"""Imports go downward only, operators register themselves by their files, and nothing heavy is imported early."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn
from edgecnn.ops import all_ops

ROOT = Path(edgecnn.__file__).parent
FLOORS = ["errors", "_core", "config", "preprocessing", "init", "optim", "data", "ops", "graph", "onnx", "model", "nn",
          "models", "train", "cli"]
GROUND = {"errors", "preprocessing", "data", "optim", "init"}  # these import nothing of the upper floors
FILES = sorted(p for p in ROOT.rglob("*.py"))


def floor(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First components, below edgecnn, of everything that a file imports, wherever in the file."""
    package = ["edgecnn", *path.relative_to(ROOT).with_suffix("").parts][:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[:len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            names = [".".join(base)] if len(base) > 1 else [".".join([*base, a.name]) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found.update(n.split(".")[1] for n in names if n.startswith("edgecnn."))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path):
    here = floor(path)
    if here == "__init__":
        return
    for there in imported(path) - {here, "__version__"}:
        assert there in FLOORS, f"{path} imports edgecnn.{there}, which has no floor in this test"
        assert FLOORS.index(there) < FLOORS.index(here), f"{path}: {here} may not import {there}, which lies above it"
        if here in GROUND:
            assert there in GROUND, f"{path}: {here} stands on the ground and may not import {there}"


def test_every_operator_file_registers_something():
    defined = {type(op).__module__.rsplit(".", 1)[1] for op in all_ops().values()}
    helpers = {"__init__", "base", "view"}
    files = {p.stem for p in (ROOT / "ops").glob("*.py") if not p.stem.startswith("_")} - helpers
    assert files == defined


def test_every_operator_has_a_gradient_or_a_reason():
    from edgecnn.ops.base import Op

    for op in all_ops().values():
        replaced = type(op).lower is Op.lower and type(op).simplify is not Op.simplify  # by operators that have gradients
        written = replaced or type(op).gradient is not Op.gradient
        assert written or op.no_gradient or op.effect or op.shape_only, f"{op.name} has neither a gradient nor a reason"


def test_import_needs_only_the_required_packages():
    code = ("import sys; sys.modules.update(dict.fromkeys(['onnx', 'onnxruntime', 'matplotlib', 'torch', 'pytest']));"
            "import edgecnn; print('ok')")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "ok\n"
