"""What a running ComfyUI serves of the pack beside its nodes: locales, help pages and templates."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.comfyui.schema import SNAPSHOT
from tests.comfyui.server import PACK_NAME, REPO, ComfyServer

NODES = sorted(json.loads(SNAPSHOT.read_text(encoding="utf-8")))
LANGUAGES = ("en", "zh")


def test_english_texts_are_the_nodes_own(comfy: ComfyServer, info: dict[str, Any]) -> None:
    english = comfy.get("/i18n")["en"]["nodeDefs"]
    for node_id in NODES:
        node, told = info[node_id], english[node_id]
        assert told["display_name"] == node["display_name"]
        assert told["description"] == node["description"]
        inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        for name, text in told["inputs"].items():
            if "tooltip" in text:
                assert text["tooltip"] == inputs[name][1]["tooltip"], f"{node_id}.{name}"
        assert [output["name"] for output in told["outputs"].values()] == node["output_name"]


def test_chinese_texts_are_served(comfy: ComfyServer) -> None:
    served = comfy.get("/i18n")["zh"]
    assert set(NODES) <= set(served["nodeDefs"])
    assert served["dataTypes"]["AUDIOX_ENCODERS"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_pages_are_where_the_page_looks(comfy: ComfyServer, language: str) -> None:
    for node_id in NODES:
        page = comfy.get(f"/extensions/{PACK_NAME}/docs/{node_id}/{language}.md")
        assert page == (REPO / f"web/docs/{node_id}/{language}.md").read_bytes()


def test_pictures_are_where_help_pages_look(comfy: ComfyServer) -> None:
    """The page puts the address of docs/ before a picture's name."""
    for node_id in NODES:
        picture = comfy.get(f"/extensions/{PACK_NAME}/docs/images/{node_id}.webp")
        assert picture == (REPO / f"web/docs/images/{node_id}.webp").read_bytes()


def test_templates_are_listed_and_served_with_their_pictures(comfy: ComfyServer) -> None:
    names = sorted(path.stem for path in (REPO / "workflows").glob("*.json"))
    assert sorted(comfy.get("/workflow_templates")[PACK_NAME]) == names
    for name in names:
        served = comfy.get(f"/api/workflow_templates/{PACK_NAME}/{quote(name)}.json")
        assert served == json.loads((REPO / f"workflows/{name}.json").read_text(encoding="utf-8"))
        assert comfy.get(f"/api/workflow_templates/{PACK_NAME}/{quote(name)}.jpg")[:2] == b"\xff\xd8"


def test_the_released_model_has_one_name_before_and_after_its_download(comfy: ComfyServer) -> None:
    """Workflows store it; the tooltip says whether a run would download it."""

    def entry() -> tuple[list[str], str]:
        kind, options = comfy.object_info()["AudioXLoad"]["input"]["required"]["checkpoint"]
        return (kind if isinstance(kind, list) else options["options"]), options["tooltip"]

    names, tooltip = entry()
    assert "AudioX" in names
    assert "AudioX: not here yet; running the graph downloads it" in tooltip
    file = comfy.base / "models/audiox/AudioX/model.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    try:
        names, tooltip = entry()
        assert "AudioX" in names
        assert "AudioX: model.safetensors of AudioX, already here." in tooltip
    finally:
        file.unlink()
        file.parent.rmdir()
