"""The pack in a running ComfyUI: start-up, folder names, help, locales, templates, model folders, restart."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from tests.comfyui.graphs import combo_options, text_to_audio
from tests.comfyui.server import PACK_NAME, REPO, ComfyServer, comfyui_environment, comfyui_python

CONTRACT = {
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
}
HYPHENATED = "comfyui-audiox"
# Imported by ComfyUI's own start in some versions only; never by ours.
LATE = {"transformers", "accelerate", "av", "torchaudio", "torchvision", "huggingface_hub", "scipy", "tqdm"}


@pytest.fixture(scope="module", params=[PACK_NAME, HYPHENATED])
def named(comfy: ComfyServer, request: pytest.FixtureRequest) -> Iterator[ComfyServer]:
    """The pack under an ordinary name; then under one with a hyphen, with a second model folder."""
    if request.param == PACK_NAME:
        yield comfy
        return
    extra = comfy.base / "elsewhere"
    (extra / "audiox").mkdir(parents=True)
    (extra / "audiox" / "from_elsewhere.safetensors").touch()
    paths = comfy.base / "extra_model_paths.yaml"
    paths.write_text(f"other_disk:\n  base_path: {extra}\n  audiox: audiox\n", encoding="utf-8")
    comfy.restart(pack_name=HYPHENATED, arguments=["--extra-model-paths-config", str(paths)])
    yield comfy
    comfy.restart(pack_name=PACK_NAME, arguments=[])


def ours(info: dict[str, Any], folder: str) -> dict[str, Any]:
    """The nodes that ComfyUI attributes to the pack's folder."""
    return {name: node for name, node in info.items() if node["python_module"] == f"custom_nodes.{folder}"}


def test_all_nodes_are_registered(named: ComfyServer) -> None:
    found = ours(named.object_info(), named.pack_name)
    assert set(found) >= CONTRACT
    assert all(name.startswith("AudioX") for name in found)


def test_comfyui_reports_the_import(named: ComfyServer) -> None:
    lines = re.findall(rf"([\d.]+) seconds(.*): .*{re.escape(named.pack_name)}\s*$", named.log, re.MULTILINE)
    assert lines, named.log
    _, failed = lines[0]
    assert not failed  # how long it took says more about the machine than about the pack: see LATE below


def test_a_prompt_runs(named: ComfyServer) -> None:
    graph, ids = text_to_audio(named.object_info())
    result = named.run(graph.prompt).check()
    assert len(result.files_of(ids["save"])) == 1


def test_model_folders(named: ComfyServer) -> None:
    for folder, name in (("audiox", "mine.safetensors"), ("checkpoints", "theirs.safetensors")):
        (named.base / "models" / folder).mkdir(exist_ok=True)
        (named.base / "models" / folder / name).touch()
    checkpoints = combo_options(named.object_info(), "AudioXLoad", "checkpoint")
    assert "mine.safetensors" in named.get("/models/audiox")
    expected = ["mine.safetensors", "theirs.safetensors"]
    if named.pack_name == HYPHENATED:
        assert "from_elsewhere.safetensors" in named.get("/models/audiox")
        expected.append("from_elsewhere.safetensors")
    for name in expected:
        assert any(name in entry for entry in checkpoints), checkpoints


def test_the_demo_model_says_what_it_is(named: ComfyServer) -> None:
    demos = [e for e in combo_options(named.object_info(), "AudioXLoad", "checkpoint") if e.startswith("demo")]
    assert demos[0] == "demo (random weights, noise)"
    assert all("random weights" in demo and "noise" in demo for demo in demos)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_pages_are_served(named: ComfyServer, language: str) -> None:
    for node_id in ours(named.object_info(), named.pack_name):
        text = named.get(f"/extensions/{named.pack_name}/docs/{node_id}/{language}.md").decode()
        assert len(text) > 100, f"{node_id}: {text}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_locales_name_every_node_and_input(named: ComfyServer, language: str) -> None:
    names = named.get("/i18n")[language]["nodeDefs"]
    for node_id, info in ours(named.object_info(), named.pack_name).items():
        inputs = {name for section in ("required", "optional") for name in info["input_order"].get(section, [])}
        assert names[node_id]["display_name"], node_id
        # The widget that ComfyUI's page adds to a seed can have a name too.
        assert set(names[node_id]["inputs"]) - {"control_after_generate"} == inputs, node_id


def test_workflows_are_in_the_template_browser(named: ComfyServer) -> None:
    files = sorted((REPO / "workflows").glob("*.json"))
    assert files
    listed = named.get("/workflow_templates")[named.pack_name]
    assert sorted(listed) == [path.stem for path in files]
    for path in files:
        served = named.get(f"/api/workflow_templates/{named.pack_name}/{quote(path.name)}")
        assert served == json.loads(path.read_text(encoding="utf-8"))
        picture = named.get(f"/api/workflow_templates/{named.pack_name}/{quote(path.stem)}.jpg")
        assert picture.startswith(b"\xff\xd8"), path.stem  # a JPEG's first bytes


def test_blueprints_are_served(named: ComfyServer) -> None:
    try:
        listed = named.get("/global_subgraphs")
    except HTTPError as error:
        assert error.code == 404
        pytest.skip("this ComfyUI has no blueprints")
    ours = {key: entry for key, entry in listed.items() if entry["info"]["node_pack"].endswith(named.pack_name)}
    files = sorted((REPO / "subgraphs").glob("*.json"))
    assert sorted(entry["name"] for entry in ours.values()) == [path.stem for path in files]
    for key, entry in ours.items():
        data = named.get(f"/global_subgraphs/{key}")["data"]
        assert json.loads(data) == json.loads((REPO / f"subgraphs/{entry['name']}.json").read_text(encoding="utf-8"))


def test_unload_button(comfy: ComfyServer) -> None:
    graph, ids = text_to_audio(comfy.object_info(), seed=11)
    comfy.run(graph.prompt).check()
    comfy.free()
    again = comfy.run(graph.prompt).check()
    assert set(again.executed) >= {ids["load"], ids["sample"]}


@pytest.mark.parametrize("name", [PACK_NAME, HYPHENATED])
def test_importing_the_pack_costs_nothing(comfyui: Path, tmp_path: Path, name: str) -> None:
    pack = tmp_path / "custom_nodes" / name
    pack.parent.mkdir()
    pack.symlink_to(REPO, target_is_directory=True)
    done = subprocess.run(
        [comfyui_python(), str(Path(__file__).with_name("import_probe.py")), str(pack)],
        cwd=comfyui,
        env=comfyui_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["succeeded"], report
    assert set(report["nodes"]) >= CONTRACT
    assert report["printed"] == ""
    assert [line for line in report["logged"] if str(REPO) in line or str(pack) in line] == []
    assert not LATE & set(report["modules"]), report["modules"]
    # What nodes describe themselves with, but no network: those come with the first model.
    rooms = {name.partition(".")[0] for name in report["ours"]}
    assert not [name for name in report["ours"] if name.startswith("networks.")], report["ours"]
    assert rooms >= {"errors", "models"}, rooms
    assert report["flags"] == {}
