"""Block-level designs: fixed numbers, promises kept, minorants below, bad input answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.adversary.cells import verdict
from hil.errors import InputError
from hil.systems.multicell import design, fisher, schemes, worst_case
from hil.systems.multicell.blp import Designer
from hil.systems.multicell.draws import draw, golden
from hil.systems.multicell.level import gamma_max
from hil.systems.multicell.program import Program
from hil.systems.multicell.space import Space
from hil.units import to_db

MODES = ["cbf", "comp"]


def linear(db):
    return 10 ** (db / 10)


def stands(problem, made):
    """Solved, promised exactly what it says, radiable; or infeasible, with what is achievable."""
    if made.status == "infeasible":
        assert made.waveform is None and 0.0 <= made.achievable < made.asked
        return False
    sinr = worst_case.sinr(problem, made.mode, made.waveform)
    assert np.all(sinr >= made.asked) and made.sinr == pytest.approx(sinr, rel=1e-9)
    assert np.all(problem.spent(made.waveform, "blp") <= problem.power)
    assert np.all(np.isfinite(made.t)) and np.all(made.t >= 0.0)
    assert made.t == pytest.approx(fisher.sensing(problem, made.mode, made.waveform, "blp"), rel=1e-9)
    assert np.all(np.diff(made.history) >= -1e-6 * made.history[0])
    return True


@pytest.mark.parametrize("mode,csi_set,levels", [
    ("comp", "stacked", (23.605, 23.417, 16.996)), ("comp", "links", (23.605, 23.429, 17.541)), ("cbf", "links", (18.762, 18.500, 14.131)),
])  # fmt: skip
def test_golden_largest_targets(mode, csi_set, levels):
    for delta, level in zip((0.0, 0.01, 0.1), levels):
        assert to_db(gamma_max(golden(delta, csi_set), mode)) == pytest.approx(level, abs=0.002)


@pytest.mark.parametrize("mode,asked_db,t", [("comp", 5, 567), ("comp", 10, 494), ("cbf", 5, 326), ("cbf", 10, 194)])
def test_golden_designs(mode, asked_db, t):
    problem = golden()
    made = design(problem, mode, asked=linear(asked_db))
    assert stands(problem, made) and made.t.min() >= t
    found = verdict(made.waveform, problem.channel, problem.radius, problem.noise, problem.cells, mode, asked_db, np.random.default_rng(0),
                    csi_set=problem.csi_set)  # fmt: skip
    assert found.passed


@pytest.mark.parametrize("mode", MODES)
def test_largest_target_falls_with_the_radius_and_is_the_nominal_one_without(mode):
    levels = [gamma_max(golden(delta, "links"), mode) for delta in (0.0, 0.003, 0.03, 0.3)]
    assert np.all(np.diff(levels) < 0.0)
    w = design(golden(0.0), mode, asked=0.999 * levels[0])
    received = np.abs(np.einsum("nua,nas->us", golden().channel, w.waveform)) ** 2
    assert np.min(np.diag(received) / (received.sum(1) - np.diag(received) + 1)) >= 0.999 * levels[0]


def filled(program, w, t):
    """Slacks of all rows at W, tau = t and every tangent's point."""
    x = np.zeros(program.size)
    flat = program.space.gathered(w).ravel()
    x[: 2 * program.space.half] = np.concatenate([flat.real, flat.imag])
    x[program.tau] = t / program.reference
    for part in program.parts:
        if part["coupled"]:
            x[[part["q"], part["D"], part["z"]]] = 1.0
    row = np.concatenate(program.lines.row)
    col = np.concatenate(program.lines.col)
    return program.right - np.bincount(row, program.val * x[col], program.lines.height)


@pytest.mark.parametrize("mode", MODES)
def test_minorant_touches_where_it_was_made(mode):
    problem = draw(np.random.default_rng(1), stations=3, transmit=4, users=2).phase_robust().normalised
    problem = replace(problem, turns=problem.turns[:4], tilts=problem.tilts[:4])
    space = Space(problem, mode)
    program = Program(space, "sense")
    rng = np.random.default_rng(2)
    w = np.zeros((3, 4, 6), complex)
    w[space.station, :, space.stream] = rng.standard_normal((len(space.station), 4)) + 1j * rng.standard_normal((len(space.station), 4))
    w /= np.sqrt(problem.spent(w, "blp").max())
    program.at(w)
    t = fisher.t_of(problem, mode, fisher.covariance(problem, w, "blp"))
    slack = filled(program, w, t.min())
    tight = []
    for echo, part in zip(program.echoes, program.parts):
        p = len(echo.u)
        matrix = np.zeros((p, p))
        matrix[part["first"], part["second"]] = slack[part["lmi"] : part["lmi"] + len(part["first"])] / part["weight"]
        least = np.linalg.eigvalsh(matrix + np.triu(matrix, 1).T)[0]
        assert least > -1e-9
        tight.append(min(least, slack[part["line"]]) if part["coupled"] else least)
        if part["coupled"]:
            top = slack[part["dim"] :][: 2 + 2 * len(np.unique(space.stream[echo.others]))]
            assert top[0] == pytest.approx(np.linalg.norm(top[1:]), rel=1e-9)
    assert min(tight) == pytest.approx(0.0, abs=1e-9)
    assert np.sum(np.array(tight) < 1e-9) == 1 if mode == "comp" else True


@pytest.mark.parametrize("mode", MODES)
def test_minorant_lies_below_everywhere_else(mode):
    """What a step is told it wins, it wins at least: expansion points that nobody could radiate included."""
    problem = golden()
    designer = Designer(problem.normalised, mode, linear(5))
    beam = Program(designer.space, "beam")
    rng = np.random.default_rng(3)
    for beyond in (0.0, 0.0, 0.1, 0.3):
        one, other = designer.start(beam, rng), designer.start(beam, rng)
        designer.program.at(one + beyond * (one - other))
        found = designer.program.solve(designer.targets)
        if found is None:  # too far beyond: no W has a minorant
            assert beyond > 0.0
            continue
        w, x = found
        assert x[designer.program.tau] * designer.program.reference <= designer.measured(w) * (1 + 1e-5)


def test_one_cell_is_the_same_in_both_modes():
    problem = draw(np.random.default_rng(4), stations=1, users=2)
    cbf, comp = (design(problem, mode, asked=linear(10)) for mode in MODES)
    assert cbf.t == pytest.approx(comp.t, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_units_change_nothing(mode):
    problem = golden(csi_set="links")
    power, noise, heard = np.array([0.2, 3.0]), np.array([1e-13, 4e-13, 2e-13, 1e-12]), 5e-13
    gain = np.sqrt(problem.power / power)[:, None]
    watts = replace(
        problem, channel=problem.channel * (gain * np.sqrt(noise))[..., None], radius=problem.radius * gain * np.sqrt(noise), noise=noise,
        power=power, noise_radar=np.full(2, heard), alpha=problem.alpha * gain * np.sqrt(heard),
    )  # fmt: skip
    made, same = (design(one, mode, asked=linear(10)) for one in (problem, watts))
    assert stands(watts, same) and same.t == pytest.approx(made.t, rel=1e-3)


def test_one_ball_around_all_links_wants_one_power():
    with pytest.raises(InputError, match="one power"):
        replace(golden(), power=np.array([100.0, 50.0]))


@pytest.mark.parametrize("mode", MODES)
def test_directions_that_are_left_out_are_not_missed(mode):
    problem = draw(np.random.default_rng(5), users=1, transmit=8)
    assert Space(problem.normalised, mode).size < 8
    made = design(problem, mode, asked=linear(15))
    whole = design(replace(problem, element_power=np.full((2, 8), 10.0)), mode, asked=linear(15))  # limits nobody reaches: all antennas kept
    assert stands(problem, made) and made.t.min() == pytest.approx(whole.t.min(), rel=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_caps_of_elements_hold(mode):
    problem = replace(golden(), element_power=np.tile([15.0, 40.0, 20.0, 25.0], (2, 1)))
    made = design(problem, mode, asked=linear(5))
    assert stands(problem, made)
    assert np.all(np.sum(np.abs(made.waveform) ** 2, axis=2) <= problem.element_power * (1 + 1e-12))
    assert made.t.min() < design(golden(), mode, asked=linear(5)).t.min()


def test_views_are_stood():
    """Multipoint lives on the echoes' phases: unknown ones cost it most of t unless the design knows that it does not know."""
    problem, asked = golden(), linear(5)
    plain = design(problem, "comp", asked=asked)
    robust = design(problem.phase_robust(), "comp", asked=asked)
    assert stands(problem.phase_robust(), robust)
    kept = fisher.sensing(problem.phase_robust(), "comp", plain.waveform, "blp").min()
    assert robust.t.min() > 1.2 * kept
    assert robust.t.min() < plain.t.min()
    tilted = problem.angle_robust(0.05)
    assert design(tilted, "comp", asked=asked).t.min() > fisher.sensing(tilted, "comp", plain.waveform, "blp").min()


@pytest.mark.parametrize("mode", MODES)
def test_up_to_the_achievable_and_no_further(mode):
    problem = golden(0.05)
    refused = design(problem, mode, asked=linear(40))
    assert not stands(problem, refused)
    assert refused.achievable >= gamma_max(problem, mode) * (1 - 1e-6)
    assert stands(problem, design(problem, mode, asked=refused.achievable * 0.9999))
    assert not stands(problem, design(problem, mode, asked=refused.achievable * 1.001))


def hostile():
    rng = np.random.default_rng
    drop, place = draw(rng(0), transmit=4, users=2), draw(rng(3), transmit=4, users=2, fading="line-of-sight")
    own = np.arange(2)[:, None] == drop.cells
    channel = place.channel.copy()
    for m in range(2):
        v = fisher.steering(place.transmit_place, place.angle[m, m])[0]
        channel[m, 2 * m] = np.abs(channel[m, 2 * m, 0]) * v
    twin = drop.channel.copy()
    twin[:, 1] = twin[:, 0]
    return {
        "one antenna": (draw(rng(0), transmit=1), -10), "one antenna, one user, one cell": (draw(rng(0), transmit=1, users=1, stations=1), 10),
        "more streams than antennas": (draw(rng(0), transmit=2, users=3), -10), "user and target at one angle": (replace(place, channel=channel), 5),
        "two users in one place": (replace(drop, channel=twin), -5), "radius beyond the channel": (
            replace(drop, radius=1.1 * np.linalg.norm(drop.channel, axis=-1)), -20), "infeasible": (drop, 40),
        "no gain between cells": (replace(drop, channel=drop.channel * own[..., None]), 10), "no echo between cells": (
            replace(drop, alpha=np.diag(np.diag(drop.alpha))), 10), "no echo": (replace(drop, alpha=0 * drop.alpha), 10),
        "no echo of one's own": (replace(drop, alpha=drop.alpha * (1 - np.eye(2))), 10), "one stream": (draw(rng(0), users=1, stations=1), 10),
        "rank too low for the unknowns": (draw(rng(0), users=1, stations=3), 10), "a cell without users": (
            replace(drop, cells=np.zeros(4, int)), 5), "nobody hears": (replace(drop, channel=0 * drop.channel), 0),
        "nothing asked": (draw(rng(0), transmit=4, users=1), -np.inf),
    }  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", hostile())
@pytest.mark.filterwarnings("error")
def test_hostile_problems_have_an_answer(case, mode):
    problem, asked_db = hostile()[case]
    solved = stands(problem, design(problem, mode, asked=linear(asked_db)))
    assert solved == (case not in ("radius beyond the channel", "infeasible", "nobody hears"))


@pytest.mark.parametrize("asked", [-1.0, np.nan, np.inf])
def test_what_is_no_target_is_refused(asked):
    with pytest.raises(InputError, match="linear ratio"):
        design(golden(), "comp", asked=asked)


def test_nominal_schemes_say_what_they_really_promise():
    problem, asked = golden(0.1), linear(10)
    blind = schemes["nominal-comp-blp"](problem, asked)
    heeding = schemes["comp-blp"](problem, asked)
    assert blind.sinr.min() < asked <= heeding.sinr.min()
    assert blind.t.min() > heeding.t.min()
    assert blind.designer == "nominal-comp-blp"


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stations", [2, 3])
def test_designs_of_drops_stand_before_ten_thousand_members(mode, stations):
    for seed in range(3):
        for delta in (0.01, 0.1):
            problem = draw(np.random.default_rng(seed), stations=stations, delta=delta)
            asked = linear(8 if mode == "comp" else 4)
            made = design(problem, mode, asked=asked)
            if stands(problem, made):
                found = verdict(made.waveform, problem.channel, problem.radius, problem.noise, problem.cells, mode, to_db(asked),
                                np.random.default_rng(seed), members=10_000)  # fmt: skip
                assert found.passed
                assert np.all(made.sinr <= linear(found.worst_each) * (1 + 1e-9))
