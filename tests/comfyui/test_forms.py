"""Apps as forms and blueprints from the node library, used in headless Chromium as a person uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui import shipped
from tests.comfyui.browser import ComfyPage
from tests.comfyui.forms import DEMO, SINCE, Form, Library, picture
from tests.comfyui.media_files import make_sound, make_video, picture_packets, read_sound
from tests.comfyui.server import ComfyServer

SAMPLE_RATE = 44100
VIDEO, SOUND = "of_mine.mp4", "of_mine.wav"
SECONDS = 4.0  # of both
# What AudioXSampler is given when a form's settings were all changed.
AS_NAMED = {"seed": 7, "steps": 3, "guidance": 3, "sampler": "k-heun", "sigma_min": 0.5, "sigma_max": 90}


@pytest.fixture(scope="module")
def forms(comfy: ComfyServer) -> Iterator[ComfyPage]:
    """A page of a small notebook's size, opened when the files of the tests are there."""
    make_video(comfy.base / "input" / VIDEO)
    make_sound(comfy.base / "input" / SOUND)
    shipped.make_inputs(comfy, map(shipped.read, shipped.APPS))
    with ComfyPage(comfy, height=1000) as page:
        version = page.page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__")
        if tuple(map(int, version.split("."))) < SINCE:
            pytest.skip(f"ComfyUI's page {version} has no forms")
        yield page


def inputs_of(prompt: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = (node["inputs"] for node in prompt.values() if node["class_type"] == kind)
    return found


def shows(page: ComfyPage, kind: str, file: Path) -> None:
    """Wait until a player (audio or video) of that file is on the page."""
    found = "([kind, name]) => [...document.querySelectorAll(kind)].some(each => each.src.includes(name))"
    page.page.wait_for_function(found, arg=[kind, file.name])


def test_sound_for_a_video(forms: ComfyPage, comfy: ComfyServer) -> None:
    form = Form(forms, comfy, "Sound for a video")
    form.choose_file("Video", VIDEO)
    form.write("Prompt", "a ball on a wooden floor")
    form.choose("The video's own sound", "mix")
    form.settings()
    picture(forms, "Sound for a video, filled in")
    prompt, (file,) = form.run()
    picture(forms, "Sound for a video, done")
    assert inputs_of(prompt, "LoadVideo")["file"] == VIDEO
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "a ball on a wooden floor"
    assert inputs_of(prompt, "AudioXSetSoundtrack")["mode"] == "mix"
    assert AS_NAMED.items() <= inputs_of(prompt, "AudioXSampler").items()
    assert picture_packets(file) == picture_packets(comfy.base / "input" / VIDEO)
    assert read_sound(file).seconds == pytest.approx(SECONDS, abs=0.06)
    assert read_sound(file).rms > 1e-3
    shows(forms, "video", file)


def test_sound_from_text(forms: ComfyPage, comfy: ComfyServer) -> None:
    form = Form(forms, comfy, "Sound from text")
    form.write("Prompt", "a bell in the rain")
    form.write("Seconds", 3)
    form.write("Takes", 2)
    form.settings()
    prompt, files = form.run()
    picture(forms, "Sound from text, done")
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "a bell in the rain"
    assert AS_NAMED.items() <= inputs_of(prompt, "AudioXSampler").items()
    first, second = map(read_sound, files)
    assert first.seconds == second.seconds == pytest.approx(3.0, abs=0.01)
    assert np.abs(first.samples - second.samples).mean() > 1e-2
    shows(forms, "audio", files[0])


def test_sound_from_an_example(forms: ComfyPage, comfy: ComfyServer) -> None:
    form = Form(forms, comfy, "Sound from an example")
    form.choose_file("Example", SOUND)
    form.write("Start in the example (seconds)", 1)
    form.write("Prompt", "strings join in")
    form.write("Seconds", 3)
    form.settings()
    prompt, (file,) = form.run()
    picture(forms, "Sound from an example, done")
    assert inputs_of(prompt, "LoadAudio")["audio"] == SOUND
    assert inputs_of(prompt, "AudioXEncodeAudio")["start"] == 1
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "strings join in"
    assert AS_NAMED.items() <= inputs_of(prompt, "AudioXSampler").items()
    assert read_sound(file).seconds == pytest.approx(3.0, abs=0.01)
    assert read_sound(file).rms > 1e-3
    shows(forms, "audio", file)


def test_repair_seconds(forms: ComfyPage, comfy: ComfyServer) -> None:
    form = Form(forms, comfy, "Repair seconds")
    form.choose_file("Sound", SOUND)
    form.write("Seconds to repair", "1-2")
    form.write("Prompt", "a violin alone")
    form.settings()
    prompt, (file,) = form.run()
    picture(forms, "Repair seconds, done")
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "a violin alone"
    assert AS_NAMED.items() <= inputs_of(prompt, "AudioXSampler").items()
    repaired(read_sound(file).samples, read_sound(comfy.base / "input" / SOUND).samples)
    shows(forms, "audio", file)


def repaired(made: np.ndarray, source: np.ndarray) -> None:
    """Seconds 1 to 2 are new, and all others the source's own samples."""
    assert made.shape == source.shape
    assert np.array_equal(made[:, :SAMPLE_RATE], source[:, :SAMPLE_RATE])
    assert np.array_equal(made[:, 2 * SAMPLE_RATE :], source[:, 2 * SAMPLE_RATE :])
    assert np.abs(made - source)[:, SAMPLE_RATE : 2 * SAMPLE_RATE].mean() > 1e-3


@pytest.mark.parametrize("path", shipped.APPS, ids=lambda path: path.stem)
def test_a_form_s_lines_stand_in_their_order(forms: ComfyPage, comfy: ComfyServer, path: Path) -> None:
    form = Form(forms, comfy, path.name.removesuffix(".app.json"))
    workflow = shipped.read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    wanted = [
        next(socket["label"] for socket in nodes[number]["inputs"] if socket["name"] == name)
        for number, name, *_ in workflow["extra"]["linearData"]["inputs"]
    ]
    assert form.labels() == wanted


def test_apps_stand_in_the_template_browser(forms: ComfyPage) -> None:
    """Under the filter for apps, each with its picture; a click opens the form."""
    page = forms.page
    page.locator(".templates-tab-button").click()
    page.get_by_text(forms.server.pack_name, exact=True).click()
    page.get_by_role("button", name="App", exact=True).last.click()
    cards = page.locator("[data-testid^=template-workflow-]")
    cards.nth(len(shipped.APPS) - 1).wait_for()
    page.wait_for_timeout(1500)
    picture(forms, "templates")
    assert sorted(cards.evaluate_all("all => all.map(card => card.dataset.testid)")) == [
        f"template-workflow-{path.stem}" for path in shipped.APPS
    ]
    assert cards.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)") == [400] * len(shipped.APPS)
    forms.errors.clear()  # ComfyUI's own templates need not be installed
    page.get_by_test_id("template-workflow-Sound from text.app").click()
    page.get_by_test_id("linear-widgets").get_by_text("Takes", exact=True).wait_for()
    assert forms.errors == []


def heard(files: list[Path]) -> np.ndarray:
    """The one file that is a sound alone, (2, N)."""
    (file,) = (file for file in files if file.suffix == ".flac")
    return read_sound(file).samples


QUICK = {"seed": 7, "steps": 3, "model": DEMO}


def test_blueprint_sound_for_a_video(forms: ComfyPage, comfy: ComfyServer) -> None:
    library = Library(forms, comfy)
    node = library.drop("AudioX Sound for a video")
    library.fill_in(node, QUICK | {"text": "a ball on a wooden floor", "mode": "mix"})
    library.connect("LoadVideo", {"file": VIDEO}, node, 0, before=True)
    library.connect("SaveVideo", {}, node, 0)
    library.connect("PreviewAudio", {}, node, 1)
    prompt, files = library.run()
    picture(forms, "AudioX Sound for a video, done")
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "a ball on a wooden floor"
    assert inputs_of(prompt, "AudioXSetSoundtrack")["mode"] == "mix"
    assert {"seed": 7, "steps": 3}.items() <= inputs_of(prompt, "AudioXSampler").items()
    (video,) = (file for file in files if file.suffix == ".mp4")
    assert picture_packets(video) == picture_packets(comfy.base / "input" / VIDEO)
    assert read_sound(video).rms > 1e-3
    assert heard(files).shape[1] == pytest.approx(SECONDS * SAMPLE_RATE, abs=0.06 * SAMPLE_RATE)


def test_blueprint_sound_from_text(forms: ComfyPage, comfy: ComfyServer) -> None:
    library = Library(forms, comfy)
    node = library.drop("AudioX Sound from text")
    library.fill_in(node, QUICK | {"text": "a bell in the rain", "seconds": 3})
    library.connect("PreviewAudio", {}, node, 0)
    prompt, files = library.run()
    picture(forms, "AudioX Sound from text, done")
    assert inputs_of(prompt, "AudioXEncodeText")["text"] == "a bell in the rain"
    assert heard(files).shape == (2, 3 * SAMPLE_RATE)
    assert np.abs(heard(files)).mean() > 1e-3


def test_blueprint_repair_seconds(forms: ComfyPage, comfy: ComfyServer) -> None:
    library = Library(forms, comfy)
    node = library.drop("AudioX Repair seconds")
    library.fill_in(node, QUICK | {"regions": "1-2", "text": "a violin alone"})
    library.connect("LoadAudio", {"audio": SOUND}, node, 0, before=True)
    library.connect("PreviewAudio", {}, node, 0)
    _, files = library.run()
    picture(forms, "AudioX Repair seconds, done")
    repaired(heard(files), read_sound(comfy.base / "input" / SOUND).samples)


def test_blueprint_seamless_loop(forms: ComfyPage, comfy: ComfyServer) -> None:
    """A whole number of latents, and from the last sample to the first no further than elsewhere."""
    library = Library(forms, comfy)
    node = library.drop("AudioX Seamless loop")
    library.fill_in(node, QUICK | {"steps": 1, "seconds": 12})
    library.connect("PreviewAudio", {}, node, 0)
    prompt, files = library.run()
    picture(forms, "AudioX Seamless loop, done")
    assert inputs_of(prompt, "AudioXEmptyLatent")["loop"] is True
    loop = heard(files)
    assert loop.shape[1] % 2048 == 0
    assert loop.shape[1] == pytest.approx(12 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    steps = np.abs(np.diff(loop, axis=1))
    assert (np.abs(loop[:, 0] - loop[:, -1]) <= np.quantile(steps, 0.999, axis=1)).all()
