"""The wheel, built from a copy, installed outside the clone, and run there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("build") / "source"
    ignore = shutil.ignore_patterns(".git", ".venv", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=ignore)
    out = copy.parent / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder far from the clone with an environment that has the wheel; what that needs is borrowed from this one."""
    folder = tmp_path_factory.mktemp("outside")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=120)
    site = next((folder / "venv" / "lib").glob("python3*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files, the editable clone's, are not followed
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "venv" / "bin" / "python"),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def hil(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(folder / "venv" / "bin" / "hil"), *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=timeout
    )


def test_it_holds_the_product_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"hil", "sim_backend", "calibration", "firmware_configs"}
    assert {
        "hil/examples/quickstart/scenario.toml",
        "hil/examples/own_designer.py",
        "firmware_configs/pluto-3g5.toml",
        "hil/py.typed",
    } <= set(names)


ASK = "import hil, sim_backend; print(hil.__file__, sim_backend.__file__)"


def test_the_quickstart_runs_there(outside: Path) -> None:
    where = subprocess.run([str(outside / "venv" / "bin" / "python"), "-c", ASK],
                           cwd=outside, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert where.stdout.count(str(outside)) == 2 and str(ROOT) not in where.stdout, where.stderr
    assert hil(outside, "new", "my-lab").returncode == 0
    assert hil(outside, "check", "my-lab").stdout == "ok  scenario.toml, testbed.toml, 3 profiles\n"
    done = hil(outside, "run", "my-lab", "--rounds", "1", "--json", timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["ok"] and Path(outside, said["result"]["report"]).is_file()
    assert [row["designer"] for row in said["result"]["rounds"]] == ["fixed-rzf", "fixed", "sparse", "robust"]
