"""The README and docs/: short, linked, in one unit, and every example in them runs, on a small model in two steps."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.commands.options import parser
from audiox_core.media import write_audio
from audiox_core.memory.machine import measure
from audiox_core.models import member, members
from audiox_core.models.parts import Model
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline, assemble
from tests.core.media_clips import write_clip
from tests.core.small import small_data, small_opened, small_tensors

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
README = PAGES[0].read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(kind, text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (kind, text) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")), 1)
]
STEPS = 2
# What a line of shell may begin with beside our own command; what is checked of it is below.
ELSEWHERE = {"cd", "git", "pip", "make", "accelerate"}


def anchors(text: str) -> set[str]:
    """The names that a page's headings have in links."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http://", "https://"))]


def test_the_readme_is_short_and_begins_with_what_you_get() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    screen = "\n".join(lines[:30])
    for told in (
        "docs/demo.webp",
        "released weights",
        "GPU",
        "VRAM: 4 GB",
        "no ten-second limit",
        "| `AudioX-Turbo` |",
    ):
        assert told in screen, told


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_linked_from_the_readme() -> None:
    assert {f"docs/{page.name}" for page in DOCS} <= set(links(README))


def test_sizes_are_in_one_unit() -> None:
    """GB of 1e9 bytes, of which small things have thousandths."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"\b[KMGT]iB\b", text), page.name
        assert not re.search(r"\d ?(MB|kB|TB)\b", text), page.name


def test_the_address_to_clone_is_the_project_s_and_its_placeholder_is_told() -> None:
    address = re.search(r'^Repository = "(.+)"$', PROJECT, re.MULTILINE)
    assert address is not None and f"git clone {address[1]} " in README
    assert ("**`OWNER` is a placeholder**" in README) == ("OWNER" in address[1])


def test_steps_of_the_recipes_are_written_once() -> None:
    """They stood in several places, and one of them would have been forgotten."""
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"\b250 steps|steps 250", text), page.name
    for name in members():
        known = member(name)
        if known is not None and known.released is not None:
            assert README.count(f"| `{name}` |") == 1


def test_every_node_and_graph_is_listed() -> None:
    nodes = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "tests/comfyui/schema.json").read_text(encoding="utf-8"))
    assert sorted(re.findall(r"^\| AudioX [\w ]+ \(`(\w+)`\) \|", nodes, re.MULTILINE)) == sorted(schema)
    graphs = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    apps = {path.name.removesuffix(".app.json") for path in (ROOT / "workflows").glob("*.app.json")}
    shipped = {path.stem for path in (ROOT / "workflows").glob("*.json")} - {f"{name}.app" for name in apps}
    blueprints = {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    assert set(re.findall(r"^\| `(\w+)` \|", graphs, re.MULTILINE)) == shipped
    assert set(re.findall(r"^\| \*(.+?)\* \|", graphs, re.MULTILINE)) == apps | blueprints


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return assemble(small_opened(), measure("cpu"), dtype="fp32")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples read."""
    folder = tmp_path_factory.mktemp("inputs")
    wave = torch.sin(torch.arange(44100 * 10) / 10).expand(2, -1) / 2
    write_clip(folder / "clip.mp4", 20, 5)
    write_clip(folder / "long.mp4", 60, 5)  # 12 s
    write_clip(folder / "talk.mp4", 20, 5, sound=wave[:, : 4 * 44100])
    (folder / "clips").mkdir()
    shutil.copy(folder / "clip.mp4", folder / "clips" / "door.mp4")
    write_audio(folder / "take.wav", wave, 44100)
    torch.save({"state_dict": small_tensors()}, folder / "model.ckpt")
    (folder / "config.json").write_text(json.dumps(small_data()))
    (folder / "list.jsonl").write_text(listed())
    return folder


def listed() -> str:
    """The rows that the documentation shows of a batch."""
    (rows,) = (text for kind, text in (block.values for block in BLOCKS) if not kind and text.startswith("{"))
    return str(rows)


@pytest.fixture
def folder(pipe: Pipeline, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with those files, where every model is the small one and all runs are short."""
    resolved = Settings.resolved

    def load(name: Any = "AudioX", **_: Any) -> Pipeline:
        assert member(str(name)) is not None, name
        return pipe

    def described(name: Any, **_: Any) -> Model:
        return load(name).model

    def short(self: Settings, model: Any) -> Settings:
        return resolved(replace(self, steps=STEPS), model)

    monkeypatch.setattr("audiox_core.pipeline.load_pipeline", load)
    # Wherever it was imported already.
    for module in [module for name, module in sys.modules.items() if name.startswith("audiox_core.")]:
        if hasattr(module, "describe_model"):
            monkeypatch.setattr(module, "describe_model", described)
    monkeypatch.setattr(Settings, "resolved", short)
    monkeypatch.setenv("AUDIOX_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str) -> list[str]:
    """The files that an example says it writes."""
    direct = re.findall(r"-o (\S+)", text) + re.findall(r'\.save\("([^"]+)"\)', text)
    return direct + re.findall(r'save_with_video\("[^"]+", "([^"]+)"', text)


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_examples_run(kind: str, text: str, folder: Path) -> None:
    if kind == "python":
        exec(compile(text, "example", "exec"), {})
    elif kind == "sh":
        for words in commands(text):
            run(words)
    elif kind == "text":
        assert "model files\n" in text, "only what info prints is text that nothing runs"
    else:
        assert text == listed(), "an example that nothing runs"
    for name in written(text):
        stem, ending = name.rsplit(".", 1)
        assert (folder / name).exists() or len(list(folder.glob(f"{stem}_[1-4].{ending}"))) == 4, name


def commands(text: str) -> list[list[str]]:
    """The command lines of a block, as words."""
    lines = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def run(words: list[str]) -> None:
    """Runs our own commands; of others, checks what they name of ours."""
    program, *rest = words
    if program == "audiox":
        assert cli.main(rest) == 0
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for word in rest:
            name, sign, _ = word.partition("=")
            assert (f"{name}=" if sign else f"\n{name}:") in makefile, word
    elif program == "accelerate":
        place = rest.index("-m")
        assert rest[0] == "launch" and rest[place + 1] == "audiox_core"
        assert parser("audiox").parse_args(rest[place + 2 :]).command == "batch"
    elif program == "pip" and "-r" in rest:
        assert rest[-1].startswith("comfyui-audiox/") and (ROOT / rest[-1].partition("/")[2]).is_file()
    else:
        assert program in ELSEWHERE, words


def test_the_moving_picture_is_small_moves_and_can_be_drawn_again(
    pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from docs import make_picture

    kept = ROOT / "docs" / "demo.webp"
    assert kept.stat().st_size < 2e6
    assert len((ROOT / "docs" / "make_picture.py").read_text(encoding="utf-8").splitlines()) < 150
    with Image.open(kept) as film:
        assert getattr(film, "n_frames", 1) > 50 and film.size == make_picture.SIZE
    monkeypatch.setattr(make_picture, "load_pipeline", lambda *_, **__: pipe)
    monkeypatch.setattr(make_picture, "STEPS", STEPS)
    monkeypatch.setattr(make_picture, "FPS", 1)
    make_picture.main(tmp_path / "film.webp")
    with Image.open(tmp_path / "film.webp") as film:
        assert getattr(film, "n_frames", 1) > STEPS + 5
