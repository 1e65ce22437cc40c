"""Networks of transformers beside a torchaudio that is there, is not there, or cannot be imported."""

from __future__ import annotations

import subprocess

import pytest

from tests.forks import forked

# Prints what was said, and whether torchaudio's place is as it was.
BUILD = """
import logging, sys
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("audiox").addHandler(handler)
from audiox_core.networks.borrowed import from_transformers
for names in (("CLIPVisionConfig", "CLIPVisionModelWithProjection"), ("T5Config", "T5EncoderModel")):
    classes = from_transformers(*names)
    assert [one.__name__ for one in classes] == list(names), classes
assert not getattr(sys.modules.get("torchaudio"), "__file__", "").startswith(sys.argv[1])
try:
    import torchaudio
except Exception as error:
    print(type(error).__name__, "|", *said)
else:
    print("here |", *said)
"""
RAISES = {
    "OSError": "OSError('libtorchaudio.so: undefined symbol')",
    "RuntimeError": "RuntimeError('operator exists')",
    "ImportError": "ImportError('libcudart.so.13')",
}


CASES = {
    **dict.fromkeys(RAISES, "import sys; sys.path[:0] = [sys_path, '.']"),
    "works": "import sys; sys.path[:0] = [sys_path, '.']",
    "absent": "import sys; sys.modules['torchaudio'] = None",
}
# Most of what transformers imports besides torchaudio, and what is there of it.
COMMON = """
from contextlib import suppress
from importlib import import_module
for name in ("torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "torchvision", "tokenizers", "jinja2"):
    with suppress(ImportError):
        import_module(name)
import sys
assert not {"transformers", "torchaudio"} & set(sys.modules)
"""
UNKNOWN = "from audiox_core.networks.borrowed import from_transformers; from_transformers('NoSuchModel')"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """By case, how a process of its own ended and what it printed."""
    base = tmp_path_factory.mktemp("borrowed")
    programs = {}
    for case, before in CASES.items():
        folder = base / case
        folder.mkdir()
        if case in RAISES:
            (folder / "torchaudio").mkdir()
            (folder / "torchaudio" / "__init__.py").write_text(f"raise {RAISES[case]}")
        programs[case] = f"sys_path = {str(folder)!r}\n{before}\nsys.argv = ['-c', sys_path]\n{BUILD}"
    programs["unknown"] = UNKNOWN
    return dict(zip(programs, forked(base, COMMON, list(programs.values())), strict=True))


def printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("kind", RAISES)
def test_a_broken_torchaudio_keeps_nothing_from_loading(
    kind: str, ended: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    found, said = printed(ended[kind]).split(" | ")
    assert found == kind  # as before: others meet the same error that they would have met without us
    assert said.startswith("torchaudio is installed but broken (")
    assert said.count("broken") == 1


def test_nothing_is_said_where_it_works_or_is_absent(ended: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert printed(ended["works"]) == "here |"
    assert printed(ended["absent"]) == "ModuleNotFoundError |"


def test_other_failures_of_transformers_are_its_own(ended: dict[str, subprocess.CompletedProcess[str]]) -> None:
    said = ended["unknown"].stderr
    assert said.strip().splitlines()[-1].startswith(("AttributeError", "ImportError", "ModuleNotFoundError"))
    assert "NoSuchModel" in said and ended["unknown"].returncode == 1
