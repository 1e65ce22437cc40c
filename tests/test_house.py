"""The house: a model is a table row, so nothing outside models/ knows its parts by name; rooms are few and small."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiox_core.models import members
from audiox_core.models.config import BACKBONES, parse_config

ROOT = Path(__file__).parents[1]
CORE, NODES = ROOT / "audiox_core", ROOT / "nodes"
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for folder in (CORE, NODES)
    for path in sorted(folder.rglob("*.py"))
}
OUTSIDE = [path for path in TREES if not path.startswith("audiox_core/models/")]
LARGEST, MODULES, FOLDERS = 350, 6, 7
# What only the host has; the core must run without it.
HOSTS = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server", "execution"}
# Literals that name several modalities because people do: (how many of them, why), by file.
SPOKEN = {
    "audiox_core/commands/options.py": (1, "the command line's options of the same names are passed on"),
    "nodes/condition.py": (1, "the inputs of AudioX Combine"),
    "nodes/guider.py": (2, "the scales of AudioX Guider"),
}


def part_names() -> tuple[set[str], set[str]]:
    """The conditioners' names (modalities) of all models, and the other parts' with the types of backbones."""
    conditioners: set[str] = set()
    others: set[str] = set()
    for member in members().values():
        model = parse_config(member.config(), member.name)
        conditioners |= {part.name for part in model.conditioners}
        others |= {model.backbone.name, model.autoencoder.name}
    return conditioners, others | set(BACKBONES)


MODALITIES, OTHERS = part_names()


def strings(node: ast.AST | None) -> set[str]:
    """The string constants that a node is, or that a literal list, tuple, set or dict holds (of a dict, its keys)."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return {text for item in node.elts for text in strings(item)}
    return {text for key in node.keys for text in strings(key)} if isinstance(node, ast.Dict) else set()


def named(tree: ast.AST) -> Iterator[str]:
    """Places where a part other than a conditioner is called by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in OTHERS:
            yield f"line {node.lineno}: {node.value!r}"


def listed(tree: ast.AST) -> Iterator[str]:
    """Literals that hold several modalities."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict) and len(strings(node) & MODALITIES) > 1:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def told_apart(tree: ast.AST) -> Iterator[str]:
    """Places where it is asked whether something is a certain part: comparisons, cases, a table's entry."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        for part in asked:
            if strings(part) & (MODALITIES | OTHERS):
                yield f"line {part.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the absolute imports, those in functions too; relative ones that leave the core as 'nodes'."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            name = (node.module or node.names[0].name).split(".")[0]
            if node.level == 0 or name == "nodes":
                found.add(name)
    return found


def doubles(paths: list[str]) -> list[str]:
    """Names that several files have, unless they are a row of models/ and its network in networks/."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in map(Path, paths):
        folders[path.stem].append(path.parent.name)
    return [
        f"{name} in {', '.join(found)}"
        for name, found in folders.items()
        if name != "__init__" and len(found) > 1 and sorted(found) != ["models", "networks"]
    ]


def test_the_names_looked_for_are_the_models() -> None:
    assert {"text", "video", "audio"} == MODALITIES
    assert {"dit", "mmdit", "autoencoder"} <= OTHERS
    assert len(OUTSIDE) > 50 and set(SPOKEN) <= set(OUTSIDE)


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_part_is_known_by_name(path: str) -> None:
    tree = TREES[path]
    assert not list(named(tree))
    assert not list(told_apart(tree))
    found, (allowed, why) = list(listed(tree)), SPOKEN.get(path, (0, "nobody says these names here"))
    assert len(found) == allowed, f"{why}: {found}"


@pytest.mark.parametrize(
    ("code", "finder"),
    [
        ("x = 'dit'", named),
        ("f(name='autoencoder')", named),
        ("x = ('text', 'audio')", listed),
        ("x = {'video': 1, **y, 'audio': 2}", listed),
        ("if name == 'text': pass", told_apart),
        ("if name in ('audio', other): pass", told_apart),
        ("if 'mmdit' != name: pass", told_apart),
        ("match name:\n case 'video': pass", told_apart),
        ("formats['text']", told_apart),
    ],
)
def test_what_is_looked_for_is_found(code: str, finder: object) -> None:
    assert len(list(finder(ast.parse(code)))) == 1  # type: ignore[operator]
    assert not list(finder(ast.parse("x = 'texts', {'text': y}, name == 'ditto'")))  # type: ignore[operator]


@pytest.mark.parametrize("path", TREES)
def test_a_file_has_a_subject_and_is_not_long(path: str) -> None:
    assert ast.get_docstring(TREES[path])
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= LARGEST


def test_the_core_has_few_rooms() -> None:
    modules = [path.name for path in CORE.iterdir() if path.suffix == ".py"]
    folders = [path.name for path in CORE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert 0 < len(modules) <= MODULES, modules
    assert 0 < len(folders) <= FOLDERS, folders


@pytest.mark.parametrize("path", [path for path in TREES if path.startswith("audiox_core/")])
def test_the_core_knows_no_host(path: str) -> None:
    assert not imported(TREES[path]) & HOSTS


def test_imports_of_every_kind_are_seen() -> None:
    code = "import comfy.sd\ndef f():\n from folder_paths import x\n from ..nodes import y\n from . import own"
    assert imported(ast.parse(code)) == {"comfy", "folder_paths", "nodes"}


def test_one_name_is_one_thing() -> None:
    assert not doubles([path for path in TREES if path.startswith("audiox_core/")])
    assert doubles(["a/load.py", "b/load.py", "a/__init__.py", "b/__init__.py"]) == ["load in a, b"]
    assert not doubles(["models/maf.py", "networks/maf.py"])
