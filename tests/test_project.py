"""The project as contributors meet it: one version, workflows that run the tests, guides that name what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import audiox_core
from audiox_core.__main__ import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION: str = PROJECT["project"]["version"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FOLDERS = ("audiox_core", "nodes", "tests", "workflows", "subgraphs", "locales", "web", "docs")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file with `on` as it is written: YAML 1.1 takes it for a truth value."""
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(workflow: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_yaml(f".github/workflows/{workflow}.yml")["jobs"][job]["steps"]
    return found


def test_the_version_is_written_once() -> None:
    assert audiox_core.__version__ == VERSION
    code = [*(ROOT / "audiox_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]
    assert [path.name for path in code if f'"{VERSION}"' in path.read_text(encoding="utf-8")] == []


def test_the_command_line_tells_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"audiox {VERSION}\n")


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == VERSION
    assert headings == sorted(headings, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def test_a_name_for_the_console_leads_to_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROJECT["project"]["scripts"] == {"audiox": "audiox_core.__main__:main"}
    for program, shown in (("/usr/bin/audiox", "audiox"), ("x/audiox_core/__main__.py", "python -m audiox_core")):
        monkeypatch.setattr(sys, "argv", [program, "generate"])
        with pytest.raises(SystemExit):
            main(["--help"])
        assert capsys.readouterr().out.startswith(f"usage: {shown} [")


def test_an_installed_package_is_typed_and_knows_its_version(tmp_path: Path) -> None:
    """Built by setuptools as for pip, and run far from the checkout, beside another project's pyproject.toml."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    site.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "audiox_core"):
        (source / name).symlink_to(ROOT / name)
    code = "import sys, setuptools; setuptools.setup(script_args=sys.argv[1:])"
    build = ["build_py", "--build-lib", str(site), "egg_info", "--egg-base", str(site)]
    subprocess.run([sys.executable, "-c", code, *build], cwd=source, check=True, capture_output=True)
    assert (site / "audiox_core" / "py.typed").is_file()
    assert (site / "audiox_core" / "media" / "assets" / "sample.mp4").is_file()
    (names,) = site.glob("*.egg-info/entry_points.txt")
    assert "audiox = audiox_core.__main__:main" in names.read_text(encoding="utf-8")
    (site / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "9.9.9"\n', encoding="utf-8")
    command = [sys.executable, "-m", "audiox_core", "--version"]
    shown = subprocess.run(command, cwd=site, check=True, capture_output=True, text=True)
    assert shown.stdout == f"audiox {VERSION}\n"


def test_every_push_runs_make_test() -> None:
    on = read_yaml(".github/workflows/tests.yml")["on"]
    assert {"push", "pull_request", "workflow_call"} <= set(on)
    assert any(step.get("run", "").startswith("make test") for step in steps("tests", "test"))
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_tag_is_published_after_the_tests_and_with_a_secret() -> None:
    workflow = read_yaml(".github/workflows/publish.yml")
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert workflow["jobs"]["test"]["uses"] == "./.github/workflows/tests.yml"
    assert workflow["jobs"]["publish"]["needs"] == "test"
    checks = "\n".join(step.get("run", "") for step in steps("publish", "publish"))
    assert "--version" in checks and "OWNER" in checks
    token = steps("publish", "publish")[-1]["with"]["personal_access_token"]
    assert token == "${{ secrets.REGISTRY_ACCESS_TOKEN }}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_for_the_report(path: Path) -> None:
    form = read_yaml(path)
    if path.stem == "config":
        return
    assert form["name"] and form["description"]
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names)
    assert "report" in path.read_text(encoding="utf-8")
    asked = {field["id"]: field.get("validations", {}).get("required", False) for field in form["body"]}
    assert path.stem == "idea" or asked["report"]


def test_the_checks_before_a_commit_are_those_of_make() -> None:
    """By the same interpreter, so by the same ruff and mypy."""
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert repository["repo"] == "local" and all("make -s python-path" in entry for entry in entries)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for tool in ("ruff format", "ruff check", "mypy"):
        assert f"@$(environment) {tool}" in makefile and any(f"-m {tool}" in entry for entry in entries)


def test_contributing_speaks_of_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"(?:(?:{'|'.join(FOLDERS)})/[\w./]*\w/?|\w+\.(?:md|toml))", text))
    assert len(named) > 25
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    rooms = {path.parent.name for path in (ROOT / "audiox_core").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"{room}/" not in text] == []
    variables = set(re.findall(r"COMFYUI_\w+", text))
    server = (ROOT / "tests" / "comfyui" / "server.py").read_text(encoding="utf-8")
    assert len(variables) == 3 and [name for name in variables if f'"{name}"' not in server] == []


def test_what_the_owner_fills_in_is_marked() -> None:
    addresses = PROJECT["project"]["urls"]
    assert addresses["Repository"].startswith("https://github.com/")
    assert PROJECT["tool"]["comfy"]["Icon"].endswith("/docs/icon.svg") and (ROOT / "docs" / "icon.svg").is_file()
    marked = "OWNER" in addresses["Repository"]
    assert marked == ("OWNER" in PROJECT["tool"]["comfy"]["Icon"]) == ("OWNER" in addresses["Issues"])
