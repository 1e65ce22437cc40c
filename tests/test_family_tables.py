"""The tables of the family say what is counted and planned now, and its files are those that are fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.models import member
from audiox_core.models.maf import SYNCHFORMER, SYNCHFORMER_NAMES
from audiox_core.models.mmdit import VAE
from tests.benchmarks import bench_family

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAMILY = README.split("## The family")[1].split("\n## ")[0]
MODELS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
MEMORY = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")


def overview(name: str) -> list[str]:
    """The cells behind a model's name in the README's table."""
    return next(line for line in FAMILY.split("\n") if line.startswith(f"| `{name}` |")).strip("| ").split(" | ")[1:]


def test_multiplications_are_those_counted() -> None:
    for row in bench_family.work_rows():
        assert row in MODELS, row


def test_memory_is_what_is_planned() -> None:
    assert "Memory **planned**, not measured" in MEMORY
    for row in bench_family.memory_rows():
        assert row in MEMORY, row
    held = bench_family.full("AudioX-Turbo").backbone.held
    assert held is not None
    assert f"({held(Format('fp16', 'fp16'), 1) / 1e9:.2f} GB with guidance" in MEMORY


def test_the_sentence_on_vram_is_what_is_planned() -> None:
    """On the README's first screen: a card that is enough for each model, and one from which on nothing is streamed."""
    for text in (README, MEMORY):
        words = " ".join(text.split())
        said = re.search(
            r"(\d+) GB (?:of VRAM )?is enough for every model\**, and from (\d+) GB up nothing has to be", words
        )
        assert said is not None
        enough, whole = int(said[1]), int(said[2])
        for name in bench_family.NAMES:
            assert bench_family.planned(name, enough)[0] <= enough
            assert bench_family.planned(name, whole)[1] == 0
        assert any(bench_family.planned(name, enough)[1] for name in bench_family.NAMES)
    assert "planned figures for fp16" in README


@pytest.mark.parametrize("name", bench_family.NAMES)
def test_the_overview_is_the_recipe_s_and_the_tables(name: str) -> None:
    recipe, found = bench_family.full(name).recipe, bench_family.counts(name)
    steps, guidance, work, size, licence = overview(name)[1:]
    assert (int(steps), float(guidance)) == (recipe.steps, recipe.guidance)
    assert work.startswith(f"{found.sound / bench_family.TERA:.1f} T (")
    assert size == f"{bench_family.size(name, 'fp16'):.2f} GB"
    known = member(name)
    assert known is not None and known.released is not None and licence in known.released.licence


@pytest.mark.parametrize("name", bench_family.NAMES)
def test_sampler_and_noise_levels_are_the_recipe_s(name: str) -> None:
    recipe = bench_family.full(name).recipe
    table = MODELS.split("| name | sampler | noise levels |")[1]
    row = next(line for line in table.split("\n") if f"`{name}`" in line)
    low = f"{recipe.sigma_min:g}, rho {recipe.rho:g}" if recipe.objective == "v" else "0, evenly spaced"
    assert f"| {recipe.sampler} | " in row and f"{recipe.sigma_max:g} to {low} |" in row


@pytest.mark.parametrize("name", bench_family.NAMES)
def test_files_are_those_that_are_fetched(name: str) -> None:
    known = member(name)
    assert known is not None and known.released is not None
    (row,) = (line for line in MODELS.split("\n") if line.startswith(f"| `{name}` | `"))
    for file in known.released.files:
        assert f"`{file}`" in row
    assert f"`{known.released.repo.split('/')[1]}`: " in row and f"`{name}/`" in row


def test_files_beside_the_checkpoints_are_named() -> None:
    assert all(file in MODELS for file in (*SYNCHFORMER.files, *VAE.files, f"{SYNCHFORMER_NAMES[-1]}.safetensors"))
    assert f"`{SYNCHFORMER.name}/`" in MODELS


def test_the_transformer_s_size() -> None:
    part = bench_family.full("AudioX-Turbo").backbone
    told = re.search(r"transformer of the two MMDiT members is ([\d.]+) GB", MEMORY)
    assert told is not None
    assert float(told[1]) == pytest.approx(weights_of(part, part.format("fp16", on_cpu=False)).total / 1e9, abs=0.05)
    assert "no released weight of any of them has been heard here" in FAMILY
