"""The reference pages are what the source says; transcripts are what the commands print; every error id is documented and provoked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate, ids

ROOT = Path(__file__).resolve().parents[2]
IDS = ids.used()


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == generate.PAGES[name](), "fix: make docs"


def test_a_page_that_differs_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {"events.md": generate.events_page})
    assert generate.main(["--check"]) == 1 and "fix: make docs" in capsys.readouterr().err
    assert generate.main([]) == 0 and generate.main(["--check"]) == 0


def test_ids_are_found_however_they_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "errors.py").write_text(
        "class HilError(Exception): ...\nclass Mine(HilError):\n    def __init__(self):\n        super().__init__('by-super', 'said')\n"
        "def f(source, bad):\n    source.error('by-source', f'{bad} is bad', 'key', fix='mend it')\n"
        "    raise HilError('by-name', 'a' if bad else 'b')\n"
        "def g(lab, why):\n    lab.event('warned', id='by-event', message=f'{why}: goes on', fix='look')\n    lab.event('failed', id='no-warning')\n"
    )
    monkeypatch.setattr(ids, "sources", lambda: [tmp_path / "errors.py"])
    monkeypatch.setattr(ids, "ROOT", tmp_path)
    found = ids.used()
    assert {name: one.says for name, one in found.items()} == {
        "by-event": ["...: goes on"], "by-name": ["a", "b"], "by-source": ["... is bad"], "by-super": ["said"],
    }  # fmt: skip
    assert found["by-source"].fixes == ["mend it"] and found["by-super"].kinds == ["Mine"]
    assert found["by-event"].kinds == [ids.WARNING] and found["by-event"].fixes == ["look"]


@pytest.mark.parametrize("name", sorted(IDS))
def test_every_error_id_is_documented(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "errors.md").read_text()


# Files of the user's side: each of their ids is provoked by a test that names it. Others' suites hold theirs.
MINE = (
    "hil/cli.py",
    "hil/commands",
    "hil/crosscheck.py",
    "hil/files.py",
    "hil/profile.py",
    "hil/scenario",
    "hil/strict.py",
    "hil/tasks",
    "hil/testbed.py",
)


@pytest.mark.parametrize("name", sorted(name for name, one in IDS.items() if any(file.startswith(MINE) for file in one.files)))
def test_every_error_id_has_a_test_that_names_it(name: str) -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert any(re.search(rf"(\[|\"|'){re.escape(name)}(\]|\"|'|$)", text) for text in texts)


# -- transcripts -------------------------------------------------------------------------------------------------------------------------


def transcript(page: str) -> list[tuple[str, str]]:
    """(command, what it prints) of each `$` line in the console blocks of a page, in order."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


@pytest.mark.parametrize("page", ["docs/start.md", "docs/radios.md"])
def test_the_transcripts_of_a_page_are_true(page: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    for command, printed in transcript(page):
        words = shlex.split(command)
        run = [sys.executable, "-m", "hil.cli", *words[1:]] if words[0] == "hil" else words
        done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        assert forms(done.stdout + done.stderr) == forms(printed), command


def forms(text: str) -> str:
    """Text with what differs from disk to disk left out."""
    return re.sub(r"\d+ GB free", "N GB free", text)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
