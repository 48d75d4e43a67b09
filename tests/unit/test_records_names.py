"""Run names, and the short ways to say one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hil.errors import InputError
from hil.records import names

A, B, C = "20260314-152033-quickstart-k7qd", "20260315-090000-quickstart-aaaa", "20260315-100000-my-lab-bbbb"


@pytest.fixture
def runs(tmp_path):
    for name in (B, A, C):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "20260316-100000-half-made").mkdir()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_new_name_is_utc_and_well_formed():
    local = datetime(2026, 3, 14, 17, 20, 33, tzinfo=timezone(timedelta(hours=2)))
    assert names.new("quickstart", local, lambda letters: letters[0]) == "20260314-152033-quickstart-aaaa"
    assert names.PATTERN.fullmatch(names.new("multicell-6", datetime.now(UTC)))


def test_two_new_names_differ():
    now = datetime.now(UTC)
    assert len({names.new("x", now) for _ in range(50)}) == 50


def test_a_name_unfit_for_a_path_is_refused():
    with pytest.raises(ValueError):
        names.new("../up")


@pytest.mark.parametrize(
    "text, name", [("last", C), ("last~0", C), ("last~1", B), ("last~2", A), ("k7qd", A), ("my-lab", C), ("0315-09", B), (A, A)]
)
def test_short_names(runs, text, name):
    assert names.resolve(text, runs) == runs / name


def test_a_path_is_a_run_too(runs):
    assert names.resolve(runs / B, "elsewhere") == runs / B


def test_ambiguous_part_lists_the_candidates(runs):
    with pytest.raises(InputError) as caught:
        names.resolve("quickstart", runs)
    assert caught.value.id == "ambiguous-run" and A in caught.value.found and B in caught.value.found and C not in caught.value.found


@pytest.mark.parametrize(
    "text, id, said", [("nobody", "no-such-run", C), ("last~3", "no-such-run", "last~2"), ("half-made", "no-such-run", C)]
)
def test_no_such_run_says_which_there_are(runs, text, id, said):
    with pytest.raises(InputError) as caught:
        names.resolve(text, runs)
    assert caught.value.id == id and said in str(caught.value) and caught.value.exit_code == 2


def test_no_runs_at_all(tmp_path):
    with pytest.raises(InputError, match="no runs in"):
        names.resolve("last", tmp_path / "runs")
