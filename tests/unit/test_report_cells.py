"""The report of several cells: what it says of angles, of who sent with whom, and of phases, against numbers worked out by hand."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from cells_run import BASES, CELLS, RUN, TARGETS, azimuth, make
from test_report_page import Page

from hil.records import read
from hil.report import angles, clocks, cooperation, facts, ground, knowledge, page, phases, render, sets, signal
from hil.report.answer import sentences
from hil.report.facts import difference
from hil.report.flags import flags
from hil.report.sections import sections_of, still


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("runs"))
    return folder, render(folder).read_text()


def words(folder):
    run = read(folder)
    return Page(page.page(run, facts(run), {})).text


# ---- the page


def test_a_page_of_cells_has_no_rail_and_says_that_nothing_moves(whole):
    found = Page(whole[1])
    assert found.tags.count("svg") == 10 and found.tags.count("section") == 9
    assert "Nothing moves on this bench." in found.text and "rail" not in found.text.replace("trail", "") and "motor" not in found.text
    assert "No target" not in found.text and "No elements" not in found.text
    run = read(whole[0])
    assert still(run) and [section.name for section in sections_of(run)] == [
        "place", "promise", "gain", "signal", "knowledge", "target", "motion"
    ]  # fmt: skip


def test_every_figure_of_cells_is_whole_and_within_its_frame(whole):
    for path in (whole[0] / "figures").glob("*.svg"):
        ElementTree.parse(path)
    text = {path.stem: path.read_text() for path in (whole[0] / "figures").glob("*.svg")}
    assert all(f">{user}: {what}" in text["signal"] for user in ("u1", "u6") for what in ("received", "blocks", "EVM"))
    assert all(f"stations-u{index}:" in text["clocks"] for index in range(1, 7))
    assert all(f">{cell}<" in text["place"] for cell in CELLS) and "bs1-rx" in text["place"] and "bs1-tx" in text["place"]
    assert "target of east" in text["target"] and "phase error until it was measured" in text["phases"]


def test_the_summary_has_degrees_and_who_sent_with_whom(whole):
    text = Page(whole[1]).text
    assert "target, \N{DEGREE SIGN} (CRLB)" in text and "sent as" in text and "moved" not in text.split("Place:")[0].replace("nothing moved", "")
    assert "0 cbf-blp 10.0 10.8 10.9 - u1 0.23 (0.06) 29 % CBF 1.2 s kept" in text
    assert "2 comp-blp 10.0 12.1 12.2 - u1 0.23 (0.06) 25 % CoMP 1.2 s kept" in text


def test_the_answer_is_of_users_and_angles(whole):
    run = read(whole[0])
    found = facts(run)
    first, second, third, _ = sentences(run, found, [])
    rms = math.degrees(math.sqrt((0.004**2 + 0.002**2) / 2))
    assert first == f"It worked: comp-blp measured 12.2 dB at the worst user after 2 rounds, and told angles to {rms:.2f}\N{DEGREE SIGN} rms."
    assert second == (
        "Asked for were 10 dB at every user; 4 of 4 angles above threshold, where one target and noise alone would allow 0.06\N{DEGREE SIGN}; "
        "sending together brings the worst user 1.3 dB and makes the bound on the angle 1.7 times smaller."
    )
    assert third.startswith("Promise kept in 2 of 2 rounds")


# ---- giving way


def test_a_design_that_gave_way_is_said_marked_and_compared_with_nothing(tmp_path):
    folder = make(tmp_path, gave_way=[(2, "comp-blp")])
    run, text = read(folder), words(folder)
    found = facts(run)
    assert [entry.gave_way for entry in found.rounds] == [False, False, True] and [entry.mode for entry in found.rounds] == ["cbf", "comp", "cbf"]
    assert "in 1 of 2 rounds (2) it gave way to coordinated beamforming, because the phase between base stations is not kept" in text
    assert "CBF (gave way)" in text and "Gave way: base stations could not be trusted to send together" in text
    assert "Warning not-coherent" in text
    assert cooperation.steps(run, found) == [] and "gave way to coordinated beamforming" in cooperation.finding(found, [])
    assert [one.gave_way for one in phases.turnings(run)] == [False, True] and "in 1 of 2 designs they were not trusted" in phases.finding(
        phases.turnings(run)
    )


# ---- what cooperation is worth


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("comp-blp", "cbf-blp", "cooperation"), ("cbf-blp", "comp-blp", ""), ("comp-blp", "nominal-comp-blp", "robustness"),
        ("cbf-slp", "cbf-blp", "symbols"), ("nominal-comp-blp", "nominal-cbf-blp", "cooperation"), ("comp-blp", "nominal-cbf-blp", ""),
        ("comp-blp", "comp-blp", ""), ("robust", "nominal", ""), ("my_module:Mine", "cbf-blp", ""),
    ],
)  # fmt: skip
def test_designs_are_compared_where_they_differ_in_one_thing(one, other, what):
    assert difference(one, other) == what


def test_bounds_compare_only_where_both_designs_believed_or_heard_the_same(tmp_path):
    """Designed 0.005 and 0.003 degrees; an echo believed weaker by two since changes the second bound, not what cooperation is worth."""
    for name, gains, unsure, ratio, of in (
        ("same", (1.0, 1.0), (), 5 / 3, "designed"),
        ("heard", (1.0, 0.5), (), 1.0, "sent"),
        ("neither", (1.0, 0.5), [(2, "west")], math.nan, ""),
    ):
        run = read(make(tmp_path / name, gains=gains, unsure=unsure))
        (step,) = cooperation.steps(run, facts(run))
        assert (step.what, step.of) == ("cooperation", of) and step.gain == pytest.approx(1.3) and step.half == pytest.approx(1.96 * 0.06 * 2**0.5)
        assert step.ratio == pytest.approx(ratio, nan_ok=True)


def test_what_caution_saves_is_the_promise_that_the_nominal_design_breaks(tmp_path):
    rounds = [(0, "nominal-comp-blp", 12.5), *RUN[1:]]
    run = read(make(tmp_path, rounds=rounds, broken=[(0, "nominal-comp-blp")]))
    found = facts(run)
    text = cooperation.finding(found, cooperation.steps(run, found))
    assert text == (
        "Caution brings the worst user 3.2 dB, leaves the bound on the angle as it is and keeps a promise that nominal-comp-blp broke "
        "by 0.8 dB"
    )


def test_symbols_moved_deeper_are_not_judged_by_their_evm(tmp_path):
    run = read(make(tmp_path, rounds=[(0, "cbf-slp", 11.0), (1, "comp-slp", 12.0)]))
    image, says = signal.draw(run, facts(run))
    assert says.startswith("Symbols were moved deeper into their regions, so EVM says nothing: 0 bit errors in 289440")
    assert b"u6: qpsk" in image and b"u6: EVM" not in image
    (promise,) = [section.figures["promise"] for section in sections_of(run) if section.name == "promise"]
    assert promise.endswith("least margin squared over the noise.")


def test_symbol_errors_stand_beside_bit_errors(tmp_path):
    text = words(make(tmp_path))
    assert "bit errors symbol errors" in text and "0 of 48240 5 of 100" in text


# ---- angles


def test_below_threshold_is_said_and_no_error_is_shown_as_if_it_were_one(tmp_path):
    folder = make(tmp_path / "some", unsure=[(2, "west")])
    run = read(folder)
    final = facts(run).final
    assert final.angle.cell == "east" and [angle.sure for angle in final.angles] == [False, True]
    assert "0.11 (0.06), 1 unsure" in words(folder) and "Below threshold, used in no set: target angle (1)." in flags(run, facts(run))
    assert "1 below threshold: model misfit" in angles.finding(angles.bearings(run))
    none = make(tmp_path / "none", unsure=[(number, cell) for number in (0, 1, 2) for cell in CELLS])
    assert "targets were not found" in words(none) and "below threshold" in words(none)
    assert angles.finding(angles.bearings(read(none))) == (
        "No angle of 6 is above threshold, so none is used (model misfit); they are 0.11\N{DEGREE SIGN} to 0.23\N{DEGREE SIGN} off"
    )


def test_errors_are_against_their_bound_and_their_own_deviation(tmp_path):
    """Errors of 4 and -2 mrad, std 3, bound 2: 1.58 times the bound in the rms, and all within 5.9 mrad."""
    found = angles.bearings(read(make(tmp_path)))
    assert all(fix.within for fix in found) and len(found) == 6
    assert "1.6 times the bound (rms), 6 of 6 within 95 %" in angles.finding(found)
    run = read(make(tmp_path / "off", errors=(0.007, 0.001)))
    assert [fix.within for fix in angles.bearings(run)] == [False, True] * 3
    (kind,) = [kind for kind in knowledge.kinds(run) if kind.what == "target angle"]
    assert kind.within == (3, 6) and sorted(value for value, _ in kind.error)[-1] == pytest.approx(7 / 3) and kind.ratio[0] == (1.5, True)


def test_trusted_angles_that_are_wrong_are_no_success(tmp_path):
    """Off by 100 and 60 mrad where each claims 3."""
    run = read(make(tmp_path, errors=(0.1, -0.06)))
    found = facts(run)
    rms = math.degrees(math.sqrt((0.1**2 + 0.06**2) / 2))
    assert sentences(run, found, [])[0] == (
        "Users have what they were promised, targets were told wrong: comp-blp measured 12.2 dB at the worst user after 2 rounds, "
        f"and angles are {rms:.2f}\N{DEGREE SIGN} rms off."
    )
    assert "Only 0 of 6 angles above threshold lie in their 95 % region." in flags(run, found)


def test_the_ray_of_an_angle_without_error_meets_the_target(whole):
    """Both arrays point along +y; west looks east and east looks west."""
    run = read(whole[0])
    for cell, site in enumerate(ground.sites(run.scenario)):
        away = TARGETS[cell, :2] - BASES[cell, :2]
        assert site.towards(azimuth(cell, TARGETS[cell])) == pytest.approx(away / np.linalg.norm(away))
        assert site.towards(math.pi / 2) == pytest.approx([0.0, 1.0]) and list(site.users) == [f"u{3 * cell + i}" for i in (1, 2, 3)]
    assert {cell: fix.round for cell, fix in ground.latest(run, facts(run)).items()} == {"west": 2, "east": 2}


def test_angles_that_nobody_surveyed_have_no_error(tmp_path):
    run = read(make(tmp_path, errors=(0.004, -0.002)))
    for event in run.events:
        if event.get("target"):
            event["target"] |= {"error": None, "surveyed": None}
    found = angles.bearings(run)
    assert all(fix.within is None for fix in found) and "nobody surveyed the targets" in angles.finding(found)
    assert b"surveyed" not in ground.draw(run, facts(run))[0] and angles.draw(run, facts(run)) is not None


# ---- knowledge


def test_the_set_of_a_link_is_measured_by_the_channel_its_design_rests_on(tmp_path):
    """A radius of 1.5e-4 about six gains of 1e-3 is 6.1 % of them; the later station's holds its turning."""
    balls = {(ball.link, ball.label): ball for ball in sets.balls(read(make(tmp_path)))}
    assert len(balls) == 36 and balls["west-u1", "1"].size == pytest.approx(5e-5 / (1e-3 * 6**0.5))
    assert balls["east-u1", "1"].size == pytest.approx(1.5e-4 / (1e-3 * 6**0.5)) and balls["east-u1", "1"].parts["phase"] > 0.0
    assert balls["east-u1", "cbf-blp"].parts["phase"] == 0.0


def test_the_phase_between_stations_and_what_it_assumes(whole):
    run = read(whole[0])
    first, second = phases.turnings(run)
    assert (first.round, first.rate, first.until, first.after, first.gave_way) == (1, (0.0, 0.0012), 0.0284, 2.5, False)
    assert phases.finding([first, second]) == (
        "Base stations turn by 1.2 \N{PLUS-MINUS SIGN} 7.8 mrad/s against each other; until a design has been measured, 2.5 s later, that is known "
        "to 28 mrad"
    )
    assert "Assumed: 3 turns seen; constant rate; 0.0284 rad after 2.5 s." in Page(whole[1]).text
    alone = read(make(whole[0].parent / "alone", phases=False))
    assert phases.draw(alone, facts(alone)) is None and phases.assumption(alone) == ""


def test_more_links_than_a_line_holds_stand_below_each_other_and_titles_are_two_lines(whole):
    image, _ = clocks.draw(read(whole[0]), facts(read(whole[0])))
    height = float(re.search(rb'height="([\d.]+)pt"', image)[1]) / 72
    assert height == pytest.approx(0.55 + 1.55 * 2, abs=0.02) and len(re.findall(rb"stations-u\d", image)) >= 6


def test_an_interrupted_run_of_cells_has_a_page(tmp_path):
    text = words(make(tmp_path / "cut", rounds=RUN[:2], end=None))
    assert "It was cut short: comp-blp measured 12.4 dB" in text and "Continue with" in text
    assert "there is nothing to report yet" in words(make(tmp_path / "none", rounds=[], end="interrupted"))
