"""Locales and help pages, without a ComfyUI: they speak of exactly the nodes, inputs and outputs that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.help_pictures import GRAPHS, MOST_BYTES

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests/comfyui/schema.json").read_text(encoding="utf-8"))
LANGUAGES = ("en", "zh")
# Widgets that ComfyUI's page adds by itself.
ADDED = {"AudioXSampler": {"control_after_generate"}}
# The page's translator reads these as its own syntax.
SYNTAX = set("{}@|$")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def locale(language: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"locales/{language}/nodeDefs.json").read_text(encoding="utf-8"))
    return content


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text for item in value.values() for text in texts(item)]


def test_both_languages_are_there() -> None:
    assert sorted(path.name for path in (ROOT / "locales").iterdir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_locale_covers_exactly_the_nodes(language: str) -> None:
    nodes = locale(language)
    assert set(nodes) == set(SCHEMA)
    for node_id, node in nodes.items():
        inputs = {entry["name"] for entry in SCHEMA[node_id]["inputs"]}
        assert set(node["inputs"]) - ADDED.get(node_id, set()) == inputs, node_id
        assert list(node["outputs"]) == [str(number) for number in range(len(SCHEMA[node_id]["outputs"]))], node_id
        assert node["display_name"].startswith("AudioX ")
        assert node["description"]
        for name, entry in node["inputs"].items():
            assert entry["name"]
            # English users see the tooltip of the node itself, which tells what would be downloaded now.
            is_live = language == "en" and (node_id, name) == ("AudioXLoad", "checkpoint")
            is_added = name in ADDED.get(node_id, set())
            assert ("tooltip" not in entry) if is_live or is_added else entry["tooltip"], f"{node_id}.{name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_locale_is_plain_text(language: str) -> None:
    for file in (ROOT / "locales" / language).glob("*.json"):
        for text in texts(json.loads(file.read_text(encoding="utf-8"))):
            assert not SYNTAX & set(text), text
            assert text == text.strip()


def test_chinese_is_chinese() -> None:
    for node_id, node in locale("zh").items():
        assert CHINESE.search(node["display_name"]), node_id
        assert CHINESE.search(node["description"]), node_id
        for name, entry in node["inputs"].items():
            assert "tooltip" not in entry or CHINESE.search(entry["tooltip"]), f"{node_id}.{name}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", sorted(SCHEMA))
def test_help_page_tells_of_every_input(node_id: str, language: str) -> None:
    page = (ROOT / f"web/docs/{node_id}/{language}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \|", page, flags=re.MULTILINE)
    for entry in SCHEMA[node_id]["inputs"]:
        named = entry["name"] if language == "en" else rf"(?:.* \()?{entry['name']}\)?"
        assert any(re.fullmatch(named, row) for row in rows), entry["name"]
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    expected = ["Inputs", "Outputs", "Example"] if language == "en" else ["输入", "输出", "示例"]
    assert [heading for heading in headings if heading in expected] == expected
    assert not page.startswith("#"), "the page shows the node's name above it"


@pytest.mark.parametrize("node_id", sorted(SCHEMA))
def test_help_page_gives_the_real_defaults(node_id: str) -> None:
    for language in LANGUAGES:
        page = (ROOT / f"web/docs/{node_id}/{language}.md").read_text(encoding="utf-8")
        inputs = re.split(r"^## (?:Outputs|输出)$", page, flags=re.MULTILINE)[0]
        rows = re.findall(r"^\| (.+?) \| ?(.*?) ?\| (.+) \|$", inputs, flags=re.MULTILINE)
        told = {re.sub(r".*\((\w+)\)", r"\1", name): default for name, default, _ in rows}
        for entry in SCHEMA[node_id]["inputs"]:
            if "default" in entry:
                default = entry["default"]
                shown = f"{default:g}" if isinstance(default, float | int) else default.replace("\n", "<br>")
                shown = str(default).lower() if isinstance(default, bool) else shown
                assert told[entry["name"]] == shown, f"{language}: {entry['name']}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", sorted(SCHEMA))
def test_help_page_shows_the_node_in_use(node_id: str, language: str) -> None:
    """In one small picture of its own, as tests/comfyui/help_pictures.py draws it."""
    page = (ROOT / f"web/docs/{node_id}/{language}.md").read_text(encoding="utf-8")
    assert re.findall(r"^!\[.+\]\((.+)\)$", page, flags=re.MULTILINE) == [f"images/{node_id}.webp"]
    picture = (ROOT / f"web/docs/images/{node_id}.webp").read_bytes()
    assert picture[:4] == b"RIFF" and picture[8:12] == b"WEBP" and len(picture) < MOST_BYTES


def test_every_node_has_a_graph_for_its_picture() -> None:
    assert set(GRAPHS) == set(SCHEMA)
    for node_id, graph in GRAPHS.items():
        assert [kind for kind, _ in graph.values()].count(node_id) == 1, node_id


def test_words_that_nobody_says_any_more() -> None:
    """Group titles said what a sound "shall" be, help pages what is "made anew"."""
    files = [*ROOT.glob("locales/en/*.json"), *ROOT.glob("web/docs/*/en.md"), *ROOT.glob("workflows/*.json")]
    assert len(files) > 40
    for file in files:
        assert not re.search(r"\b(shall|anew)\b", file.read_text(encoding="utf-8")), file


def test_no_help_page_is_left_over() -> None:
    folders = {path.name for path in (ROOT / "web/docs").iterdir()}
    assert folders - {"images"} == set(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "web/docs").rglob("*.md")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_pictures_and_templates_named_in_help_pages_exist(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
        assert (ROOT / "web/docs" / target).is_file(), target  # ComfyUI resolves them below docs/
    for name in re.findall(r"(?<!\*)\*([a-z]+_[a-z_]+|ksampler|variation)\*(?!\*)", page):
        assert (ROOT / f"workflows/{name}.json").is_file(), name
