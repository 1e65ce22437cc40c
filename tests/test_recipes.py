"""A model's steps, guidance and noise levels stand in its recipe alone: every text that repeats them agrees with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from audiox_core.errors import InputError
from audiox_core.models import members
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Recipe
from audiox_core.sampling.schedules import check_schedule

ROOT = Path(__file__).parents[1]
RECIPES = {
    name: parse_config(member.config(), name).recipe
    for name, member in members().items()
    if member.released is not None
}
BASE, TURBO = RECIPES["AudioX"], RECIPES["AudioX-Turbo"]
LANGUAGES = ("en", "zh")


def told(language: str) -> dict[str, str]:
    """The sampler's description, and the tooltips of its inputs."""
    node = json.loads((ROOT / f"locales/{language}/nodeDefs.json").read_text(encoding="utf-8"))["AudioXSampler"]
    return {"": node["description"], **{name: entry.get("tooltip", "") for name, entry in node["inputs"].items()}}


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])", text)]


def test_all_but_one_have_the_same_recipe() -> None:
    """The texts name two."""
    assert [name for name, recipe in RECIPES.items() if recipe != BASE] == ["AudioX-Turbo"]
    assert Recipe() == BASE


def test_the_command_line_and_the_node_leave_it_to_the_recipe() -> None:
    from audiox_core.commands.options import parser
    from audiox_core.models.settings import Settings

    args = parser().parse_args(["generate", "-o", "a.wav"])
    nodes = json.loads((ROOT / "tests/comfyui/schema.json").read_text(encoding="utf-8"))
    own = {entry["name"]: entry.get("default") for entry in nodes["AudioXSampler"]["inputs"]}
    for name in ("steps", "guidance", "sampler", "sigma_min", "sigma_max", "rho"):
        assert getattr(args, name) is None and getattr(Settings(), name) is None, name
        assert own[name] == ("auto" if name == "sampler" else 0), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_tooltips(language: str) -> None:
    texts = told(language)
    steps, guidance = numbers(texts["steps"]), numbers(texts["guidance"])
    assert steps == [0, BASE.steps, TURBO.steps]
    assert sorted(guidance) == sorted([0, 1, BASE.guidance, TURBO.guidance])
    assert numbers(texts["sigma_min"]) == [0, BASE.sigma_min] and numbers(texts["sigma_max"]) == [0, BASE.sigma_max]
    assert BASE.sampler in texts["sampler"] and TURBO.sampler in texts["sampler"]
    assert numbers(texts["rho"])[-2:] == [0, BASE.rho]
    wanted = [BASE.steps, BASE.sigma_max, BASE.sigma_min, BASE.guidance, TURBO.steps]
    assert numbers(texts[""])[:5] == wanted and BASE.sampler in texts[""]


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_pages(language: str) -> None:
    page = (ROOT / f"web/docs/AudioXSampler/{language}.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| Aud")
    ]
    assert len(rows) == 2
    for (_, steps, guidance, sampler, sigmas), recipe in zip(rows, (BASE, TURBO), strict=True):
        assert numbers(steps)[0] == recipe.steps and numbers(guidance) == [recipe.guidance]
        assert sampler == recipe.sampler and numbers(sigmas)[0] == recipe.sigma_max
    assert numbers(rows[0][4]) == [BASE.sigma_max, BASE.sigma_min, BASE.rho]
    models = (ROOT / f"web/docs/AudioXLoad/{language}.md").read_text(encoding="utf-8")
    for name, recipe in RECIPES.items():
        (row,) = re.findall(rf"^\| {name} \| (.+) \|$", models, re.MULTILINE)
        assert recipe.steps in numbers(row), name


def test_errors() -> None:
    with pytest.raises(InputError, match=rf"\b{BASE.steps} for AudioX and {TURBO.steps} for AudioX-Turbo"):
        check_schedule(0, BASE.sigma_min, BASE.sigma_max)
    with pytest.raises(InputError, match=rf"uses {BASE.sigma_min:g}"):
        check_schedule(BASE.steps, -1, BASE.sigma_max)
    with pytest.raises(InputError, match=rf"uses {BASE.sigma_max:g}"):
        check_schedule(BASE.steps, BASE.sigma_min, -1)
