"""Trials through drivers that are interrupted, or cannot be started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from daemon_bench import require_libiio
from link_bench import children, gone, wait_for
from trial_bench import lone_bench, own_designer

import hil.bench
from hil import cli, reach
from hil.errors import DeviceError
from hil.records import read


@pytest.mark.slow
def test_a_trial_that_is_interrupted_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    require_libiio()
    bench = lone_bench(tmp_path / "bench")
    mine: list[int] = []

    def interrupt(event: Any) -> None:
        if event["event"] == "state" and event["to"] == "measuring" and not mine:
            mine.extend(pid for child in children(os.getpid()) for pid in (child, *children(child)))
            raise KeyboardInterrupt

    opened = hil.bench.open(bench, depth="device", designer=own_designer(), runs=tmp_path, observers=[interrupt])
    with pytest.raises(KeyboardInterrupt), opened as lab:
        lab.run()
    assert mine and wait_for(lambda: all(gone(pid) for pid in mine))
    ended = read(lab.folder).events[-1]
    assert (ended["how"], ended["muted"], ended["at_rest"]) == ("interrupted", True, True)
    with hil.bench.resume(lab.folder, designer=own_designer()) as again:
        again.run()
    assert read(lab.folder).ended == "limit"


def test_without_libiio_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from hil.radios import library

    def missing() -> None:
        raise library._refusal("pylibiio", AttributeError("undefined symbol: iio_get_backends_count"))

    monkeypatch.setattr(reach, "require_library", missing)
    lone_bench(tmp_path / "bench")
    assert cli.call(["run", str(tmp_path / "bench"), "--depth", "device", "--runs", str(tmp_path / "runs")]) == DeviceError("", "").exit_code
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error[no-libiio] this machine: libiio (C library, 0.24 ... 0.26) was not found")
    assert "apt install libiio0" in told.err and "depth process and nodes" in told.err
    assert not (tmp_path / "runs").exists() and not children(os.getpid())
