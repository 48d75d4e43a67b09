"""`hil compare`: what differs is shown, what is noise is called noise, and estimates that contradict each other are named."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import synthetic_run
from scipy.stats import norm

from hil import cli
from hil.clock import Instant
from hil.records import RunWriter, read
from hil.records.comparing import agreement, compare

OTHER = "20260315-101112-quickstart-b2b2"
THIRD = "20260316-101112-quickstart-c3c3"
SCENARIO = b'name = "x"\n[rounds]\nmax = 8\n[[array]]\nname = "ap1"\nelements = 4\n'


def made(
    folder, name=synthetic_run.NAME, scenario=SCENARIO, *, seed=1, depth="process", measured=(17.0, 16.9), std=0.1, estimates=(), targets=(),
    **versions,
):  # fmt: skip
    """A run of one round with what is given, and nothing else."""
    facts = dict(scenario_name="quickstart", command="hil run x", seed=seed, depth=depth, commit="1234567890", dirty=False)
    with RunWriter.create(folder, name, inputs={"scenario.toml": scenario}, versions={"hil": "0.1.0", **versions}, **facts) as writer:
        at = Instant.of(1.0)
        writer.event("started", t=at, seed=seed, depth=depth, designer="robust", baselines=[])
        for what, value, spread in estimates:
            writer.event("estimated", 1, at, what=what, of="u1", value=value, std=spread, unit="Hz", above_threshold=True, designer="robust")
        for position, covariance, when in targets:
            target = dict(position=position, covariance=covariance, above_threshold=True)
            writer.event("measured", 1, Instant.of(when), designer="robust", version=3, target=target)
        row = dict(round=1, designer="robust", promised_db=16.0, predicted_db=17.1, bound_db=18.0)
        writer.results([row | dict(user=f"u{u}", measured_db=db, std_db=std * (u + 1)) for u, db in enumerate(measured)])
        writer.round_ends(1, t=at)
        writer.end("limit", muted=True, at_rest=True, t=at)
    return read(writer.folder)


def said(runs, capsys):
    assert cli.call(["compare", *(str(run.folder) for run in runs)]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_transcript(tmp_path, capsys):
    """Word for word: columns by what tells the runs apart, the worst user, noise of both."""
    one = made(tmp_path, estimates=[("carrier", [100.0], [1.0]), ("noise", [2.0, 2.0], [0.1, 0.1])])
    scenario = SCENARIO.replace(b"max = 8", b"max = 4")
    other = made(tmp_path, OTHER, scenario, depth="nodes", measured=(17.0, 17.3), std=0.15, numpy="2.0.0",
                 estimates=[("carrier", [102.0], [1.0]), ("noise", [2.0, 2.9], [0.1, 0.1])])  # fmt: skip
    assert said([one, other], capsys) == [
        "                       process   nodes   difference",
        "depth                  process   nodes",
        "scenario.rounds.max          8       4",
        "versions.numpy               -   2.0.0",
        "measured, last [dB]       16.9    17.0   +0.1  within the 0.49 expected from noise",
        "promised, last [dB]       16.0    16.0   0",
        "predicted, last [dB]      17.1    17.1   0",
        "bound, last [dB]          18.0    18.0   0",
        "rounds                       1       1   0",
        "estimates                                1 of 2 inside each other's 95 % regions",
        "outside     r001 robust noise u1",
    ]


def test_noise_is_that_of_the_worst_users_of_both(tmp_path):
    runs = [made(tmp_path, measured=(16.0, 17.0), std=0.3), made(tmp_path, OTHER, measured=(18.0, 17.0), std=0.2)]
    number = compare(runs).numbers[0]
    assert number.values == (16.0, 17.0) and number.differences == (1.0,)
    assert number.expected[0] == pytest.approx(norm.ppf(0.975) * np.hypot(0.3, 0.4))


def test_more_than_two_runs_are_compared_with_the_first(tmp_path, capsys):
    runs = [made(tmp_path, seed=1), made(tmp_path, OTHER, seed=2, measured=(16.0, 16.0)), made(tmp_path, THIRD, seed=3, measured=(19.0, 19.0))]
    lines = said(runs, capsys)
    assert re.split(" {3,}", lines[0].strip()) == ["seed 1", "seed 2", "seed 3", "seed 2 - seed 1", "seed 3 - seed 1"]
    measured = next(line for line in lines if line.startswith("measured, last"))
    assert "-0.9  beyond the " in measured and "+2.1  beyond the " in measured
    assert lines[-1] == "note        seeds or benches differ: what was estimated need not have been the same"


def test_tables_of_a_list_are_named_not_counted(tmp_path):
    swapped = b'name = "x"\n[rounds]\nmax = 8\n[[array]]\nname = "ap2"\nelements = 2\n[[array]]\nname = "ap1"\nelements = 4\n'
    keys = {setting.key: setting.values for setting in compare([made(tmp_path), made(tmp_path, OTHER, swapped)]).settings}
    assert keys == {"scenario.array.ap2.name": (None, "ap2"), "scenario.array.ap2.elements": (None, 2)}


def test_estimates_agree_as_often_as_95_percent_says(tmp_path):
    """Two independent estimates of one thing, stated errors true: inside in 95 % of pairs, alone and five at once (there at least)."""
    rng, pairs = np.random.default_rng(3), 1500

    def draw(size):
        for i in range(pairs):
            std = 1.0 + i % 2
            yield f"e{i}", (7.0 + std * rng.standard_normal(size)).tolist(), [std] * size

    for size, least, most in ((1, 0.935, 0.965), (5, 0.935, 0.97)):
        folder = tmp_path / str(size)
        found = agreement(made(folder, estimates=draw(size)), made(folder, OTHER, estimates=draw(size)))
        assert found.of == pairs and least < found.inside / pairs < most
        assert len(found.outside) == found.of - found.inside


def test_a_target_is_compared_by_its_ellipse_where_it_was_seen_at_one_time(tmp_path):
    flat = [[0.5, 0.49, 0.0], [0.49, 0.5, 0.0], [0.0, 0.0, 1.0]]
    place = [9.0, -4.0, 1.0]
    one = made(tmp_path, targets=[(place, flat, 2.0)])
    for shift, when, wanted in (([0.8, 0.8, 9.0], 2.0, (1, 1)), ([0.8, -0.8, 0.0], 2.0, (0, 1)), ([0.0, 0.0, 0.0], 2.5, (0, 0))):
        other = made(tmp_path / str(shift) / str(when), OTHER, targets=[(np.add(place, shift), flat, when)])
        found = agreement(one, other)
        assert (found.inside, found.of) == wanted


@pytest.mark.parametrize(("unit", "later", "of"), [("Hz", 0.01, 1), ("Hz", 6.0, 0), ("W", 6.0, 1)])
def test_what_drifts_is_compared_where_it_was_seen_at_one_time(unit, later, of, tmp_path):
    one, other = made(tmp_path, estimates=[("x", [100.0], [1.0])]), made(tmp_path, OTHER, estimates=[("x", [150.0], [1.0])])
    for run, seconds in ((one, 0.0), (other, later)):
        run.events = tuple(event | {"t": event["t"] + seconds, "unit": unit} for event in run.events)
    assert agreement(one, other).of == of and agreement(one, other).inside == 0


def test_a_note_says_that_runs_measured_at_other_times(tmp_path, capsys):
    place = ([9.0, -4.0, 1.0], np.eye(3))
    runs = [made(tmp_path, targets=[(*place, 2.0)]), made(tmp_path, OTHER, depth="nodes", targets=[(*place, 5.0)])]
    assert said(runs, capsys)[-1] == "note        measured at other times: what walks stood elsewhere, what drifts had drifted"
    assert said([runs[0], runs[0]], capsys)[-1].startswith("estimates")


def mapped(folder, name, predicted, variance):
    """A run that has mapped one rail at 50 points."""
    with RunWriter.create(folder, name, inputs={}, versions={}, scenario_name="x", command="", seed=1, depth="process") as writer:
        arrays = {"grid": np.linspace(-0.3, 0.3, 50), "predicted": predicted, "variance": np.full(50, variance)}
        file, _ = writer.field(0, "ap1", "u1", arrays)
        writer.event("mapped", 0, Instant.of(1.0), file=file, transmitter="ap1", user="u1")
    return read(writer.folder)


def test_maps_are_compared_by_magnitude_within_both_variances(tmp_path):
    """Any phase; an error of 1e-5 in both magnitudes together, of which 3.3 are allowed at the worst of 50 points."""
    along = np.exp(1j * np.linspace(0.0, 20.0, 50))
    one = mapped(tmp_path, synthetic_run.NAME, 1e-3 * along, 1e-10)
    turned = mapped(tmp_path, OTHER, 1.02e-3 * np.exp(2j) * along, 1e-10)
    assert (agreement(one, turned).inside, agreement(one, turned).of) == (1, 1)
    bumped = mapped(tmp_path, THIRD, 1e-3 * along * np.where(np.arange(50) == 17, 1.05, 1.0), 1e-10)
    assert agreement(one, bumped).outside == ("fields/r000-ap1-u1",)


def test_what_cannot_be_compared_is_not_counted(tmp_path):
    one = [("a", [0.1, 0.2], [0.01, 0.01]), ("path directions", [0.3], [0.1]), ("channel", 1.0, 0.1), ("only here", [1.0], [0.1])]
    other = [("a", [0.1], [0.01]), ("path directions", [0.9], [0.1]), ("channel", 5.0, 0.1)]
    runs = made(tmp_path, estimates=one), made(tmp_path, OTHER, estimates=other)
    assert agreement(*runs) == agreement(*runs[::-1]) and agreement(*runs).of == 0


def test_a_run_with_itself_differs_in_nothing(tmp_path, capsys):
    folder = synthetic_run.make(tmp_path)
    assert cli.call(["compare", str(folder), str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["settings"] == [] and result["same_truth"]
    assert all(number["differences"] in ([0.0], [None]) for number in result["numbers"])
    whats = [number["what"] for number in result["numbers"]]
    assert whats[:4] == ["measured, last", "promised, last", "predicted, last", "bound, last"] and "measured, sparse" in whats
    one = result["agreements"][0]
    assert one["inside"] == one["of"]


def test_one_run_is_no_comparison(tmp_path, capsys):
    folder = synthetic_run.make(tmp_path)
    assert cli.call(["compare", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"error[usage] hil compare: two runs are wanted, or more\n  found {folder}; fix: hil compare last~1 last\n"
    )
