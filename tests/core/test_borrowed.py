"""Networks of transformers beside a torchaudio that is there, is not there, or cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


def borrowed(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(folder)!r}, '.']\n{BUILD}", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("kind", RAISES)
def test_a_broken_torchaudio_keeps_nothing_from_loading(kind: str, tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {RAISES[kind]}")
    found, said = borrowed(tmp_path).split(" | ")
    assert found == kind  # as before: others meet the same error that they would have met without us
    assert said.startswith("torchaudio is installed but broken (")
    assert said.count("broken") == 1


def test_nothing_is_said_where_it_works_or_is_absent(tmp_path: Path) -> None:
    assert borrowed(tmp_path) == "here |"
    hidden = BUILD.replace("import logging, sys", "import logging, sys; sys.modules['torchaudio'] = None")
    done = subprocess.run(
        [sys.executable, "-c", hidden, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "ModuleNotFoundError |", done.stderr[-3000:]


def test_other_failures_of_transformers_are_its_own() -> None:
    code = "from audiox_core.networks.borrowed import from_transformers; from_transformers('NoSuchModel')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1].startswith(("AttributeError", "ImportError", "ModuleNotFoundError"))
    assert "NoSuchModel" in done.stderr
