"""What the report says, against numbers worked out by hand."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from hil.clock import Instant, VirtualClock
from hil.records import RunWriter, read
from hil.report import facts, gain_split, look, place, rail, spent
from hil.report.answer import sentences
from hil.report.facts import number, promise_kept
from hil.report.look import spread
from hil.report.promise import finding

NAME = "20260314-152033-quickstart-k7qd"


def writer_in(folder, **more):
    return RunWriter.create(
        folder, NAME, scenario_name="x", command="hil run x", seed=1, depth="process", inputs=more.pop("inputs", {}), versions={}, **more
    )


def run_of(folder, rows, end=None):
    with writer_in(folder) as writer:
        writer.results(rows)
        if end:
            writer.end(end, muted=True, at_rest=True, t=Instant(0, 0.0))
    return read(folder / NAME)


def row(round, designer, user, promised, predicted, measured, **more):
    return dict(round=round, designer=designer, user=user, promised_db=promised, predicted_db=predicted, measured_db=measured) | more


# ---- the four numbers


def test_a_round_is_its_worst_user_in_each_of_the_numbers(tmp_path):
    rows = [
        row(1, "robust", "u1", 15.0, 17.0, 16.9, bound_db=18.0, std_db=0.1, evm=0.1),
        row(1, "robust", "u2", 15.5, 16.0, 16.2, bound_db=18.0, std_db=0.3, evm=0.2),
        row(2, "robust", "u1", 15.0, 17.0, 16.0, bound_db=18.0, std_db=0.1, evm=0.1),
        row(2, "robust", "u2", 15.5, 16.0, 16.2, bound_db=18.0, std_db=0.3, evm=0.2),
    ]
    first, second = facts(run_of(tmp_path, rows)).rounds
    assert (first.promised, first.predicted, first.measured, first.user, first.std, first.evm) == (15.0, 16.0, 16.2, "u2", 0.3, 0.2)
    assert (second.measured, second.user, second.std) == (16.0, "u1", 0.1)


def test_a_promise_is_kept_user_by_user_not_by_the_worst_of_all(tmp_path):
    """u2 keeps nothing of its 16.5 although the worst measured (15.4) lies above the worst promised (15.0)."""
    rows = [
        row(1, "robust", "u1", 15.0, 17.0, 15.4, upper_db=15.6, shortfall_db=0.0),
        row(1, "robust", "u2", 16.5, 17.0, 16.0, upper_db=16.2, shortfall_db=0.3),
    ]
    found = facts(run_of(tmp_path, rows))
    assert found.final.kept is False and found.final.shortfall == 0.3
    assert promise_kept(found) == "promise kept in 0 of 1 round: BROKEN in round 1 by 0.3 dB"


@pytest.mark.parametrize("measured, kept", [(14.81, True), (14.74, False)])
def test_without_a_recorded_limit_the_99_percent_one_decides(tmp_path, measured, kept):
    found = facts(run_of(tmp_path, [row(1, "robust", "u1", 15.0, 15.5, measured, std_db=0.1)]))  # limit 15 - 0.2326
    assert found.final.kept is kept


def test_nothing_promised_is_neither_kept_nor_broken(tmp_path):
    found = facts(run_of(tmp_path, [row(0, "fixed-rzf", "u1", None, 11.0, 10.8)]))
    assert found.rounds[0].kept is None and "nothing was promised" in promise_kept(found)


def test_gain_split_says_what_each_step_is_worth(tmp_path):
    rows = [row(0, name, "u1", None, 0, db) for name, db in (("fixed-rzf", 10.8), ("fixed", 12.7), ("sparse", 15.7))]
    found = facts(run_of(tmp_path, [*rows, row(1, "robust", "u1", 15, 17, 16.8), row(2, "robust", "u1", 15, 17, 17.5)]))
    assert gain_split(found) == [
        ("robust", 17.5, ""), ("sparse", 15.7, "1.8 dB of the gain need motion"), ("fixed", 12.7, "3.0 dB only a wider array"),
        ("fixed-rzf", 10.8, "1.9 dB only a better precoder"),
    ]  # fmt: skip


def test_a_design_worse_than_its_baseline_is_said_to_be(tmp_path):
    rows = [row(0, "sparse", "u1", 14, 16, 17.0, std_db=0.05), row(1, "robust", "u1", 15, 17, 16.0, bound_db=18.5, std_db=0.05)]
    run = run_of(tmp_path, rows, end="limit")
    head, much, believe, where = sentences(run, facts(run), [])
    assert head == "It ran to its end and did not pay: robust measured 16.0 dB at the worst user after 1 round."
    assert much.startswith("That is 1.0 \N{PLUS-MINUS SIGN} 0.14 dB BELOW the best baseline (sparse, 17.0 dB), with a promise 3.5 dB below the most")
    assert "1.00 dB from what was predicted in the median of 2 designs" in believe and "no flag was raised" in believe
    assert where.startswith("Emulated at depth process") and "nothing was radiated" in where


@pytest.mark.parametrize(
    ("measured", "how", "said"),
    [
        (17.2, "converged", "It worked: "),
        (17.1, "limit", "It ran to its end and gained nothing that can be told from noise: "),
        (16.9, "limit", "It ran to its end and gained nothing that can be told from noise: "),
        (16.8, "limit", "It ran to its end and did not pay: "),
        (19.0, "fault", "It was cut short: "),
    ],
)
def test_whether_it_worked_is_decided_by_noise_and_end(tmp_path, measured, how, said):
    """95 % of the difference of two measurements of 0.05 dB: 1.96 x 0.05 x sqrt 2 = 0.139 dB."""
    run = run_of(tmp_path, [row(0, "sparse", "u1", 14, 16, 17.0, std_db=0.05), row(1, "robust", "u1", 15, 17, measured, std_db=0.05)], end=how)
    assert sentences(run, facts(run), [])[0].startswith(said)


def test_a_nominal_design_is_no_baseline_to_beat_but_what_robustness_costs(tmp_path):
    rows = [row(0, name, "u1", None, 17, db, std_db=0.05) for name, db in (("sparse", 15.7), ("nominal", 17.9))]
    run = run_of(tmp_path, [*rows, row(1, "robust", "u1", 15, 17, 17.5, std_db=0.05)], end="converged")
    head, much, *_ = sentences(run, facts(run), [])
    assert head.startswith("It worked: ") and "above the best baseline (sparse, 15.7 dB)" in much
    assert "0.4 dB below the nominal design" in much


def test_the_promise_title_states_the_finding(tmp_path):
    run = run_of(tmp_path, [row(1, "robust", "u1", 15.0, 17.0, 16.9, bound_db=18.0, std_db=0.1)])
    assert finding(facts(run)) == "robust reached 16.9 dB at the worst user, promised 3.0 dB below the bound; promise kept in 1 of 1 round"


def test_numbers_are_written_for_a_table():
    assert number(float("nan")) == "-" and number(-0.25, 2) == "\N{MINUS SIGN}0.25" and number(3.14159, 2, " s") == "3.14 s"


# ---- time


def test_time_belongs_to_the_state_entered_on_both_clocks(tmp_path):
    clock, wall = VirtualClock(), [0.0]
    script = [  # round, state, designer, clock s, wall s
        (0, "exploring", None, 3.0, 1.0),
        (0, "designing", "fixed", 2.0, 0.5),
        (0, "measuring", "fixed", 0.25, 0.25),
        (1, "sounding", "robust", 0.5, 0.5),
        (1, "estimating", "robust", 0.125, 2.0),
        (1, "designing", "robust", 4.0, 8.0),
        (1, "moving", "robust", 1.5, 0.0),
        (1, "settling", None, 0.5, 0.0),
        (1, "loading", "robust", 0.0625, 0.0),
        (1, "idle", "robust", 1.0, 0.5),
    ]
    with writer_in(tmp_path, clock=clock, wall=lambda: wall[0], utc=lambda: datetime(2026, 3, 14, tzinfo=UTC)) as writer:
        for round, state, designer, seconds, wall_s in script:
            writer.event("state", round, from_="idle", to=state, **({"designer": designer} if designer else {}))
            writer.event("warned", round, id="in-between")
            clock.sleep(seconds)
            wall[0] += wall_s
        writer.round_ends(1)
    bars = {bar.label: bar for bar in spent.bars(read(tmp_path / NAME))}
    assert list(bars) == ["0 explore", "0 fixed", "1 robust"]
    assert bars["0 explore"].clock["sound"] == 3.0 and bars["0 fixed"].clock == dict.fromkeys(spent.PARTS, 0.0) | {
        "design": 2.0,
        "measure": 0.25,
    }
    robust = dict(sound=0.5, estimate=0.125, design=4.0, move=1.5, settle=0.5, push=0.0625, measure=0.0, overhead=1.0)
    assert bars["1 robust"].clock == robust
    assert bars["1 robust"].wall == dict.fromkeys(spent.PARTS, 0.0) | dict(sound=0.5, estimate=2.0, design=8.0, overhead=0.5)
    assert [bar.whole for bar in bars.values()] == [False, False, True]
    assert spent.finding(list(bars.values())).startswith("Designing took 46 % of 12.9 s, sounding 27 %")


# ---- rails


def test_the_steepest_slope_of_a_plane_wave_is_its_wavenumber():
    x = np.linspace(-0.34, 0.34, 161)
    for slope in (-60.0, -3.0, 0.0, 41.5, 73.0):
        assert rail.steepest(x, 2.0 * np.exp(1j * (slope * x + 0.3))) == pytest.approx(slope, abs=0.6)  # a bin of the padded transform


def field(x, truth, measured, variance, grid=None):
    grid = np.linspace(-0.34, 0.34, 161) if grid is None else grid
    return dict(
        grid=grid,
        predicted=truth(grid),
        variance=np.full(len(grid), variance),
        sounded=x,
        sounded_value=measured,
        sounded_variance=np.full(len(x), variance),
    )


def test_predictions_between_grid_points_are_those_of_the_wave():
    truth = lambda x: np.exp(-1j * 70 * x) + 0.4 * np.exp(1j * 30 * x + 1j)
    x = np.linspace(-0.33, 0.33, 57)
    point = rail._point(field(x, truth, truth(x), 1e-4))
    assert np.abs(point.predicted - truth(x)).max() < 1e-3 and point.within.all()


def test_the_95_percent_region_holds_95_percent():
    rng, variance = np.random.default_rng(11), 1e-4
    x = rng.uniform(-0.33, 0.33, 6000)
    truth = lambda x: np.ones(len(x), complex)
    error = np.sqrt(2 * variance / 2) * (rng.standard_normal(len(x)) + 1j * rng.standard_normal(len(x)))  # of prediction and measurement
    inside = rail._point(field(x, truth, truth(x) + error, variance)).within.mean()
    assert abs(inside - 0.95) < 3.3 * np.sqrt(0.95 * 0.05 / len(x))


def test_what_the_fit_says_at_a_point_goes_before_the_grid():
    x, truth = np.array([0.1]), lambda x: np.ones(len(x), complex)
    arrays = field(x, truth, np.array([1.5 + 0j]), 1e-6) | dict(sounded_predicted=np.array([1.5 + 0j]), sounded_predicted_variance=np.array([1e-6]))
    assert rail._point(arrays).within.all() and not rail._point({k: v for k, v in arrays.items() if "predicted" != k[8:17]}).within.any()


def test_points_of_all_rounds_are_kept_and_the_latest_curve_drawn(tmp_path):
    truth = lambda x: np.ones(len(x), complex)
    with writer_in(tmp_path) as writer:
        for round, x in ((1, [0.1]), (2, [0.2, 0.3])):
            arrays = field(np.array(x), truth, round * truth(np.array(x)), 1e-6)
            file, _ = writer.field(round, "ap1", "u1", arrays | dict(predicted=round * arrays["predicted"]))
            writer.event("mapped", round, Instant(round, 0.0), file=file, transmitter="ap1", user="u1")
    (found,) = rail.rails(read(tmp_path / NAME))
    assert found.sounded.x.tolist() == [0.1, 0.2, 0.3] and found.sounded.within.all() and found.arrays["predicted"][0] == 2
    assert rail.finding([found]).startswith("3 of 3 points")


def test_measured_phases_stand_next_to_the_predicted_curve():
    from matplotlib.figure import Figure

    wave = 0.08565
    truth = lambda x: np.exp(-2j * np.pi * x / wave * 0.9) + 0.3 * np.exp(2j * np.pi * x / wave * 0.4)
    x = np.linspace(-0.33, 0.33, 23)
    arrays = field(x, truth, truth(x), 1e-5)
    axes = Figure().add_subplot()
    rail._phase(axes, rail.Rail("ap1", "u1", arrays, rail._point(arrays)), wave, "black")
    curve, points = axes.lines[0], axes.lines[1]
    expected = np.interp(points.get_xdata(), curve.get_xdata(), curve.get_ydata())
    assert len(points.get_xdata()) == 23 and np.abs(points.get_ydata() - expected).max() < 2.0


# ---- places


def placed(writer, round, purpose, reached, designer=None, asked=None):
    more = {"designer": designer} if designer else {}
    asked = reached if asked is None else asked
    writer.event(
        "placed",
        round,
        Instant(0, 0.0),
        purpose=purpose,
        asked=asked,
        reached=reached,
        std=np.zeros_like(reached),
        moved=4,
        movable=8,
        **more,
    )


def test_rows_of_a_rail_join_baselines_that_stand_alike(tmp_path):
    half, wide, done = np.array([[0.0, 0.1], [0.0, 0.1]]), np.array([[-0.3, 0.3], [-0.3, 0.3]]), np.array([[-0.2, 0.3], [-0.1, 0.2]])
    with writer_in(tmp_path) as writer:
        for visit in (half, wide, half):
            placed(writer, 0, "explore", visit)
        for name, positions in (("fixed-rzf", half), ("fixed", half + 1e-5), ("sparse", wide)):
            placed(writer, 0, "design", positions, name)
        placed(writer, 1, "design", done + 1e-3, "robust", asked=done)
        placed(writer, 2, "design", done, "nominal")
    run = read(tmp_path / NAME)
    found = facts(run)
    found = type(found)(found.rounds, "robust", ())
    rows = place.rows_of(run, found, 1)
    assert [row.label for row in rows] == ["visited", "fixed-rzf, fixed", "sparse", "round 1", "round 2 nominal"]
    assert rows[0].reached.tolist() == [-0.3, 0.0, 0.1, 0.3] and rows[3].asked.tolist() == [-0.1, 0.2]
    assert "each round within 1.0 mm of its design" in place.finding(run, found)


def test_many_rounds_leave_the_first_and_the_last(tmp_path):
    with writer_in(tmp_path) as writer:
        for round in range(1, 31):
            placed(writer, round, "design", np.zeros((1, 2)), "robust")
    run = read(tmp_path / NAME)
    labels = [row.label for row in place.rows_of(run, type(facts(run))((), "robust", ()), 0)]
    assert labels[0] == "round 1" and labels[-1] == "round 30" and len(labels) == 6


def test_the_target_ellipse_holds_95_percent_of_its_distribution(tmp_path):
    from matplotlib.figure import Figure

    covariance = np.array([[0.5, 0.3, 0.0], [0.3, 0.4, 0.0], [0.0, 0.0, 0.01]])
    with writer_in(tmp_path, inputs={"scenario.toml": b"target = { position_m = [9.0, -4.0, 1.0], position_std_m = 2.0 }"}) as writer:
        target = dict(position=[9.5, -3.5, 1.0], covariance=covariance, error=None, crlb=0.4)
        writer.event("measured", 1, Instant(0, 0.0), designer="robust", target=target)
    run = read(tmp_path / NAME)
    axes = Figure().add_subplot()
    place._target(axes, run, type(facts(run))((), "robust", ()))
    prior, filled, _ = axes.patches
    rng = np.random.default_rng(3)
    draws = rng.multivariate_normal([9.5, -3.5], covariance[:2, :2], 4000)
    assert np.mean(filled.get_path().contains_points(filled.get_patch_transform().inverted().transform(draws))) == pytest.approx(0.95, abs=0.012)
    before = rng.normal([9.0, -4.0], 2.0, (4000, 2))
    assert np.mean(prior.get_path().contains_points(prior.get_patch_transform().inverted().transform(before))) == pytest.approx(0.95, abs=0.012)


def test_labels_are_spread_without_changing_their_order():
    wanted = [10.0, 10.1, 17.0, 10.05]
    got = spread(wanted, 0.5)
    assert np.argsort(got).tolist() == np.argsort(wanted).tolist() and np.diff(sorted(got)).min() >= 0.5 - 1e-12
    assert got[2] == 17.0 and np.mean([got[0], got[1], got[3]]) == pytest.approx(np.mean([10.0, 10.1, 10.05]))
    assert spread([], 1.0) == []


def test_json_is_all_the_report_needs(tmp_path):
    """No field of run.json beyond those of a run is looked at: a folder copied to another machine makes the same report."""
    run = run_of(tmp_path, [row(1, "robust", "u1", 15.0, 17.0, 16.9)])
    assert set(json.loads((run.folder / "run.json").read_text())) >= {"name", "command", "seed", "depth", "versions", "inputs", "host"}


def test_a_figures_text_keeps_its_digits_and_its_lines_lose_theirs():
    with look.figure(1.0) as fig:
        fig.text(0.123456789, 0.5, "0.00125 m")
        drawn = look.svg(fig, "digits").decode()
    assert "0.00125" in drawn and not re.search(r'="[^"]*\d\.\d{3,}', drawn.split("</metadata>")[-1])
