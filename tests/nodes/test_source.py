"""What can be told of the nodes from their source, without a ComfyUI: ids, imports, tooltips, no side effects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

NODES = Path(__file__).parents[2] / "nodes"
FILES = sorted(NODES.glob("*.py"))
TREES = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
IDS = [
    "AudioXLoad",
    "AudioXEncodeText",
    "AudioXEncodeVideo",
    "AudioXEncodeAudio",
    "AudioXCombine",
    "AudioXNull",
    "AudioXEmptyLatent",
    "AudioXSampler",
    "AudioXDecode",
    "AudioXSetSoundtrack",
    "AudioXSpectrogram",
    "AudioXEdit",
    "AudioXTimedText",
    "AudioXWindows",
    "AudioXGuider",
    "AudioXTake",
]
# Ids that other packs register: with both installed, one of the two would silently win.
TAKEN = {
    "AudioXModelLoader",
    "AudioXTextToAudio",
    "AudioXTextToMusic",
    "AudioXVideoToAudio",
    "AudioXVideoToMusic",
    "AudioXImagesToAudio",
    "AudioXMultiModalGeneration",
    "AudioXAudioProcessor",
    "AudioXVideoMuter",
    "AudioXVideoAudioCombiner",
    "AudioXPromptHelper",
    "AudioXVolumeControl",
}
HEAVY = {"transformers", "av", "accelerate", "torchaudio", "torchsde", "huggingface_hub", "psutil", "PIL"}
# The only modules of ours that may look into the host.
HOST_FILES = {
    "host.py",
    "runner.py",
    "model.py",
    "network.py",
    "prepared.py",
    "vae.py",
    "running.py",
    "windows.py",
    "guider.py",
}


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Calls of a function or method of that name."""
    for part in ast.walk(tree):
        if isinstance(part, ast.Call) and getattr(part.func, "attr", getattr(part.func, "id", None)) == name:
            yield part


def imports(tree: ast.Module, *, everywhere: bool) -> set[str]:
    """Top-level names of the absolute imports of a module: at its top, or in its functions too."""
    found = set()
    for part in ast.walk(tree) if everywhere else tree.body:
        if isinstance(part, ast.Import):
            found |= {alias.name.split(".")[0] for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.level == 0 and part.module:
            found.add(part.module.split(".")[0])
    return found


def schemas() -> dict[str, ast.Call]:
    """The schema call of each node, by id."""
    found = {}
    for tree in TREES.values():
        for call in calls(tree, "schema"):
            if call.args and isinstance(call.args[0], ast.Constant):
                found[call.args[0].value] = call
    return found


def test_the_ids_are_the_contract_s_and_nobody_else_s() -> None:
    assert sorted(schemas()) == sorted(IDS)
    assert not set(IDS) & TAKEN


@pytest.mark.parametrize("node_id", IDS)
def test_schema(node_id: str) -> None:
    call = schemas()[node_id]
    display, description = call.args[1], call.args[2]
    assert isinstance(display, ast.Constant)
    assert display.value.startswith("AudioX ")
    assert description is not None
    inputs = next(k.value for k in call.keywords if k.arg == "inputs")
    assert isinstance(inputs, ast.List)
    for entry in inputs.elts:
        assert isinstance(entry, ast.Call)
        assert any(k.arg == "tooltip" for k in entry.keywords), ast.unparse(entry)
    names = [entry.args[0].value for entry in inputs.elts]  # type: ignore[attr-defined]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", TREES)
def test_nothing_heavy_is_imported_at_start_up(name: str) -> None:
    assert not imports(TREES[name], everywhere=False) & HEAVY


@pytest.mark.parametrize("name", TREES)
def test_no_side_effects(name: str) -> None:
    tree = TREES[name]
    assert not list(calls(tree, "print"))
    assert not list(calls(tree, "deepcopy"))
    text = (NODES / name).read_text(encoding="utf-8")
    for forbidden in ("torch.backends", "torch.manual_seed", "sys.path", "except Exception", "global "):
        assert forbidden not in text, forbidden


@pytest.mark.parametrize("name", sorted(set(TREES) - HOST_FILES))
def test_only_few_files_know_the_host(name: str) -> None:
    found = imports(TREES[name], everywhere=True)
    assert not found & {"comfy", "folder_paths", "nodes", "server", "execution", "latent_preview"}


@pytest.mark.parametrize("name", sorted(set(TREES) - {"host.py"}))
def test_folders_progress_and_interruption_are_in_one_file(name: str) -> None:
    text = (NODES / name).read_text(encoding="utf-8")
    for word in ("folder_paths", "ProgressBar", "throw_exception"):
        assert word not in text, word


@pytest.mark.parametrize("name", sorted(set(TREES) - {"host.py", "runner.py"}))
def test_model_management_is_in_two_files(name: str) -> None:
    assert "model_management" not in (NODES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_has_a_subject_and_fits_a_few_screens(path: Path) -> None:
    assert ast.get_docstring(TREES[path.name])
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
