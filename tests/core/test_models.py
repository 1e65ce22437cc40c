"""The models to be had by name: what is published of each, names in any case, and how a member joins."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest

from audiox_core import models
from audiox_core.models import member, members
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import BACKBONES, CONDITIONERS, parse_config
from audiox_core.models.family import Member
from tests.core.machines import FULL


def test_registry() -> None:
    released = [m.released for m in members().values() if m.released is not None]
    beside = [c.released for m in members().values() for c in parse_config(m.config()).companions]
    assert {"AudioX"} <= {r.name for r in released} and FULL.parts["text"].companions[0].released in beside
    for found in (*released, *beside):
        assert len(found.revision) == 40
        assert found.source == f"https://huggingface.co/{found.repo}"
    assert all(m.weights in m.released.files for m in members().values() if m.released is not None)
    base, (t5,) = members()["AudioX"].released, FULL.parts["text"].companions
    assert (base.repo, base.files) == ("HKUSTAudio/AudioX", ("config.json", "model.ckpt"))
    assert (t5.released.repo, t5.weights) == ("google-t5/t5-base", "model.safetensors")


@pytest.mark.parametrize(
    ("name", "found"), [("audiox", "AudioX"), ("HKUSTAudio/AudioX", "AudioX"), ("DEMO", "demo"), ("AudioY", None)]
)
def test_members_by_name(name: str, found: str | None) -> None:
    assert member(name) is (members()[found] if found else None)
    assert member(Path(name)) is None, "a path is no name"
    assert member(None) is None


def test_a_member_joins_with_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its conditioners and backbones can stand in any config, and its models are to be had by name."""
    table = dict(members())
    monkeypatch.setattr(models, "members", lambda: table)
    for types, key in ((BACKBONES, "twin-dit"), (CONDITIONERS, "twin-t5")):
        monkeypatch.setitem(types, key, None)  # so that it is taken out again  # type: ignore[arg-type]
    twin = Member("Twin", lambda: BASE_CONFIG)
    file = SimpleNamespace(
        MEMBERS=(twin,),
        BACKBONES={"twin-dit": BACKBONES["dit"]},
        CONDITIONERS={"twin-t5": CONDITIONERS["t5"]},
    )
    models.register(file)
    assert member("twin") is twin and models.members()["Twin"] is twin
    data = copy.deepcopy(BASE_CONFIG)
    data["model"]["diffusion"]["type"] = "twin-dit"
    data["model"]["conditioning"]["configs"][1]["type"] = "twin-t5"
    assert list(parse_config(data).parts) == list(FULL.parts)
