"""What the pages' numbers mean, against closed forms, distributions and records made by hand."""

import math

import numpy as np
import pytest
from test_report_facts import NAME, row, run_of, writer_in

from hil.clock import Instant
from hil.device import Capture
from hil.records import read
from hil.report import clocks, facts, gain, knowledge, motion, sets, signal, spectrum, target
from hil.report.flags import flags
from hil.report.provenance import provenance

T = Instant(0, 0.0)

# ---- where the gain comes from


def bars_of(folder, *entries, **more):
    """Bars of (round, designer, measured dB) with a standard deviation of 0.05 dB each."""
    rows = [row(number, name, "u1", None, None, db, std_db=0.05, **more) for number, name, db in entries]
    return gain.waterfall(facts(run_of(folder, rows)))


BASE = ((0, "fixed-rzf", 10.8), (0, "fixed", 12.7), (0, "sparse", 15.7))


def test_the_steps_of_the_waterfall_add_up_to_the_final_design(tmp_path):
    bars = bars_of(tmp_path, *BASE, (1, "robust", 16.8), (2, "robust", 17.5), bound_db=17.6, bound_anywhere_db=20.0)
    assert [bar.kind for bar in bars] == ["total", "step", "step", "step", "total", "left"]
    assert [round(bar.gain, 9) for bar in bars[1:4]] == [1.9, 3.0, 1.8]
    assert bars[0].to + sum(bar.gain for bar in bars[1:4]) == pytest.approx(bars[4].to) == 17.5
    assert (bars[5].start, bars[5].to) == (17.5, 20.0) and "at any positions" in bars[5].label
    assert bars[1].half == pytest.approx(1.96 * 0.05 * math.sqrt(2))
    assert gain.finding(bars) == (
        "A better precoder brings 1.9 dB, a wider array brings 3.0 dB and motion brings 1.8 dB; "
        "no design at any positions brings more than another 2.5 dB"
    )


def test_robustness_has_a_price_only_where_a_nominal_design_was_measured(tmp_path):
    bars = bars_of(tmp_path, *BASE, (0, "nominal", 17.9), (1, "robust", 17.5))
    (price,) = [bar for bar in bars if bar.kind == "price"]
    assert price.gain == pytest.approx(0.4) and "robustness costs 0.4 dB" in gain.finding(bars)
    assert [bar.designer for bar in bars if bar.kind == "step"] == ["fixed", "sparse", "robust"]


def test_a_motor_that_did_not_pay_is_said_to_cost(tmp_path):
    text = gain.finding(bars_of(tmp_path, *BASE, (1, "robust", 15.2)))
    assert "motion costs 0.5 dB" in text and "noise" not in text
    assert "motion brings 0.1 dB (within noise)" in gain.finding(bars_of(tmp_path / "b", *BASE, (1, "robust", 15.8)))


def test_without_a_sparse_array_motion_is_not_told_apart_from_width(tmp_path):
    bars = bars_of(tmp_path, BASE[1], (1, "robust", 17.5))
    assert gain.finding(bars).startswith("A wider array with motion brings 4.8 dB") and len(bars) == 3


# ---- signal


def test_a_tone_has_its_power_and_its_place_in_the_spectrum():
    rate, count = 1e6, 8192
    at = 37 / 512 * rate  # the middle of a bin
    hertz, density = spectrum.welch(0.3 * np.exp(2j * np.pi * at / rate * np.arange(count)), rate)
    assert hertz[np.argmax(density)] == pytest.approx(at) and np.sum(density) * rate / 512 == pytest.approx(0.09)


def test_white_noise_is_flat_at_its_power_over_the_rate():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((200_000, 2)) @ [1, 1j]
    _, density = spectrum.welch(noise, 4e6)
    assert density.mean() * 4e6 == pytest.approx(2.0, rel=0.02)
    assert density.std() / density.mean() == pytest.approx(math.sqrt(11 / 18 / (200_000 / 512)) * math.sqrt(2 / 1.1), rel=0.5)  # Welch 1967


def one_user(folder, codes, silence=None, used=0.5e6, **measured):
    """A run of one user that heard codes (sample,) at 1 MS/s; full scale -10 dBm, gain 30 dB."""
    scenario = f"signal = {{ carrier_hz = 3.5e9, used_bandwidth_hz = {used} }}".encode()
    with writer_in(folder, inputs={"scenario.toml": scenario}) as writer:
        writer.event("opened", 0, T, device="u1", receive_full_scale_dbm=-10.0)
        for purpose, values in (("idle", silence), ("measure", codes)):
            if values is not None:
                whole = np.rint(np.stack([values.real, values.imag], -1)).astype(np.float32)
                samples = np.ascontiguousarray(whole / np.float32(2048)).view(np.complex64)[None, :, 0]
                capture = Capture(samples, 1e6, 3.5e9, gain_db=(30.0,), device="u1")
                file, _ = writer.capture(f"r001-{purpose}-u1", capture, purpose=purpose, round=1)
                who = {"designer": "robust"} if purpose == "measure" else {}
                writer.event("captured", 1, T, file=file, device="u1", purpose=purpose, samples=len(values), clipped=0.0, **who)
        writer.event("measured", 1, T, designer="robust", user="u1", sinr_db=20.0, **measured)
        writer.results([row(1, "robust", "u1", 15.0, 17.0, 16.9)])
    return read(folder / NAME)


def test_power_at_the_port_and_beside_the_band_are_those_that_were_sent(tmp_path):
    """White noise 40 dB below a band-limited signal: a quarter of it lies on each side of a band half as wide as the rate."""
    rng, count = np.random.default_rng(2), 65536
    tones = (rng.standard_normal((count, 2)) @ [1, 1j]) * (np.abs(np.fft.fftfreq(count)) < 0.24)
    band = np.fft.ifft(tones)
    band *= 512 / np.sqrt(np.mean(np.abs(band) ** 2))  # 12.04 dB below full scale
    white = 5.12 / math.sqrt(2) * (rng.standard_normal((count, 2)) @ [1, 1j])
    quiet = 5.12 / math.sqrt(2) * (rng.standard_normal((count, 2)) @ [1, 1j])
    (one,) = signal.heard(one_user(tmp_path, band + white, quiet), 1, "robust")
    assert one.spectrum.unit == "dBm" and one.level == pytest.approx(-10.0 - 30.0 - 12.04, abs=0.1)
    assert one.acpr == pytest.approx((-46.02, -46.02), abs=0.25) and one.floor == pytest.approx((-46.02, -46.02), abs=0.25)
    assert "the receiver's own noise" in signal.finding([one])


def test_distortion_beside_the_band_is_not_called_noise(tmp_path):
    rng, count = np.random.default_rng(3), 32768
    band = np.fft.ifft((rng.standard_normal((count, 2)) @ [1, 1j]) * (np.abs(np.fft.fftfreq(count)) < 0.12)) * 2000
    band *= 400 / np.sqrt(np.mean(np.abs(band) ** 2))
    cubic = band - 2e-7 * band * np.abs(band) ** 2
    quiet = 2.0 * (rng.standard_normal((count, 2)) @ [1, 1j])
    (one,) = signal.heard(one_user(tmp_path, cubic, quiet, used=0.25e6, evm=0.03), 1, "robust")
    assert (
        max(one.acpr) > max(one.floor) + 3.0 and "above silence" in signal.finding([one]) and "3.0 % (\N{MINUS SIGN}30.5 dB)" in signal.finding([one])
    )


def test_without_a_known_full_scale_decibels_are_those_of_the_converter(tmp_path):
    run = one_user(tmp_path, 1024 * np.exp(0.3j * np.arange(4096)))
    run.events = tuple({key: value for key, value in event.items() if key != "receive_full_scale_dbm"} for event in run.events)
    (one,) = signal.heard(run, 1, "robust")
    assert one.spectrum.unit == "dBFS" and one.level == pytest.approx(-6.02, abs=0.05)


def test_a_capture_that_was_not_copied_leaves_the_rest_of_the_page(tmp_path):
    run = one_user(tmp_path, 100 * np.exp(0.3j * np.arange(4096)), evm=0.1, equalised=[[1.0, 0.0], [0.0, -1.0]])
    (run.folder / "captures" / "r001-measure-u1.sigmf-data").unlink()
    (one,) = signal.heard(run, 1, "robust")
    assert one.spectrum is None and one.points.tolist() == [1.0, -1.0j]
    assert b"capture not in this folder" not in signal.draw(run, facts(run))[0]  # no spectrum at all: no row of empty panels


# ---- knowledge


def test_ratios_take_numbers_lists_and_pairs_and_leave_out_what_is_not_known():
    assert knowledge.ratios(2.0, 1.0).tolist() == [2.0] and knowledge.ratios([[2.0, 3.0]], [[1.0, 2.0]]).tolist() == [2.0, 1.5]
    assert knowledge.ratios([1.0, None], [1.0, 1.0]).tolist() == [1.0] and knowledge.ratios([1.0], [0.0]).tolist() == []
    for std, bound in ((None, 1.0), (1.0, None), ([1.0, 2.0], [1.0]), ({"gain": 1.0}, {"gain": 1.0}), ([[1.0], 2.0], [1.0, 2.0])):
        assert len(knowledge.ratios(std, bound)) == 0


def test_estimates_are_gathered_by_what_they_are_of_and_below_threshold_ones_stay_apart(tmp_path):
    with writer_in(tmp_path) as writer:
        for sure, std in ((True, 1.1), (False, 9.0)):
            writer.event("estimated", 0, T, what="chain gains", of="ap1", value=[[1.0, 0.5]], std=[std], bound_std=[1.0], unit="1",
                         above_threshold=sure, residual_test=1.2)  # fmt: skip
        writer.event("estimated", 0, T, what="evm floor", of="u1", value=0.01, unit="1", above_threshold=True)
    (kind,) = knowledge.kinds(read(tmp_path / NAME))
    assert (kind.what, kind.ratio, kind.test) == ("chain gains", [(1.1, True), (9.0, False)], [(1.2, True), (1.2, False)])
    assert knowledge.finding([kind]) == "1 standard deviation 1.10 times the bound in the median, 1.10 at most; 1 below threshold"


def test_a_set_is_measured_by_its_channel(tmp_path):
    """Four elements of mean power gain 4e-6: norm 4e-3; a radius of 1e-4 is 2.5 % of it."""
    scenario = b'array = [ { name = "ap1", role = "transmit", elements = 4 } ]'
    with writer_in(tmp_path, inputs={"scenario.toml": scenario}) as writer:
        size = dict(shape="ball", size=[0.9e-4, 1.1e-4], bound_size=[4e-5, 4e-5], unit="1", parts={"noise": 2.5e-5, "moving": 7.5e-5})
        writer.event("bounded", 1, T, what="channel", of="ap1-u1", confidence=0.95, age=0.0, designer="robust", **size)
        writer.event("estimated", 1, T, what="channel", of="ap1-u1", value=4e-6, unit="power gain", designer="robust")
    (ball,) = sets.balls(read(tmp_path / NAME))
    assert (ball.size, ball.least) == (pytest.approx(0.025), pytest.approx(0.01)) and ball.parts["moving"] == pytest.approx(0.01875)
    assert sets.finding([ball]) == "The sets reach 2.5 to 2.5 % of the channel they surround; most of it, 75 %, is for what moves in the room"


# ---- clocks


def reading(at, hertz, std=0.01):
    return clocks.Reading(at, hertz, std, "robust", True)


def test_phase_is_kept_as_long_as_uncertainty_and_wander_allow():
    alone = clocks.coherent([reading(0.0, 100.0, std=0.5)])
    assert alone == pytest.approx(0.1 / (2 * math.pi * 0.5), rel=0.01)
    walks = clocks.coherent([reading(0.0, 100.0, 0.0), reading(1.0, 110.0, 0.0), reading(2.0, 100.0, 0.0)])  # q = 10 Hz per root second
    assert walks == pytest.approx((3 * (0.1 / (2 * math.pi * 10.0)) ** 2) ** (1 / 3), rel=0.01)
    assert clocks.coherent([reading(0.0, 1.0, 0.0)]) == math.inf


def test_clock_tracks_are_kept_by_link(tmp_path):
    with writer_in(tmp_path) as writer:
        for second, hertz in ((1, -3500.0), (3, -3470.0)):
            writer.event(
                "estimated", 1, Instant(second, 0.0), what="carrier offset", of="ap1-u1", value=[hertz], std=[0.01], unit="Hz", designer="robust"
            )
    found = clocks.tracks(read(tmp_path / NAME))
    assert [(one.at, one.hertz, one.std) for one in found["ap1-u1"]] == [(1.0, -3500.0, 0.01), (3.0, -3470.0, 0.01)]
    assert clocks.finding(found, 3.5e9).startswith("Clocks are up to 1.00 ppm apart (ap1-u1) and moved by up to 30.0 Hz")


# ---- target


@pytest.mark.parametrize("covariance", [[[0.09, 0.0], [0.0, 0.09]], [[0.5, 0.3], [0.3, 0.4]], [[1.0, 0.0], [0.0, 0.01]]])
def test_the_share_of_errors_shorter_than_a_radius(covariance):
    rng = np.random.default_rng(4)
    lengths = np.linalg.norm(rng.multivariate_normal([0, 0], covariance, 40_000), axis=1)
    for radius in (0.2, 0.7, 1.5):
        assert target.share_within(radius, np.array(covariance)) == pytest.approx(np.mean(lengths < radius), abs=0.01)


def test_the_ellipse_and_the_verdict_are_of_one_mind(tmp_path):
    covariance = np.array([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 0.01]])
    with writer_in(tmp_path) as writer:
        for surveyed in ([2.0, 0.0, 1.0], [0.0, 0.5, 1.0], None):  # two deviations along; five across; only its distance known
            error = 0.5 if surveyed is None else float(np.linalg.norm(surveyed[:2]))
            fix = dict(position=[0.0, 0.0, 1.0], covariance=covariance, error=error, surveyed=surveyed, crlb=1.0, above_threshold=True)
            writer.event("measured", 1, T, designer="robust", target=fix)
    found = target.fixes(read(tmp_path / NAME))
    assert [fix.within for fix in found] == [True, False, True]
    rms = math.sqrt((4.0 + 0.25 + 0.25) / 3)
    assert target.finding(found).startswith(f"Over 3 fixes the error is {rms:.1f} times its bound (rms), and 2 of 3 surveyed places")


# ---- motion


def test_a_move_lasts_from_the_event_before_to_its_arrival(tmp_path):
    with writer_in(tmp_path) as writer:
        writer.event("state", 1, Instant(4, 0.0), from_="designing", to="moving", why="designed")
        writer.event("state", 1, Instant(6, 0.0), from_="moving", to="settling", why="arrived")
        fields = dict(from_=0.1, asked=0.2, reached=0.20003, std=1e-5, peak_speed=0.1, settle=0.15)
        writer.event("moved", 1, Instant(6, 0.0), stage="rail1", axis="a", closest=0.05, designer="robust", **fields)
        writer.event("moved", 1, Instant(6, 0.0), stage="rail1", axis="b", closest=0.04, designer="robust", **fields)
    run = read(tmp_path / NAME)
    first, second = motion.legs(run)
    assert (first.begin, first.arrived, second.begin) == (4.0, 5.85, 4.0) and first.off == pytest.approx(3e-5)
    assert motion.finding(run, [first, second]).endswith("the smallest gap was 40.0 mm on rail1")


def test_what_a_stage_must_keep_is_read_from_the_runs_own_copies(tmp_path):
    inputs = {
        "scenario.toml": b'signal = { carrier_hz = 3.0e9 }\narray = [ { name = "ap1", min_spacing_wavelengths = 0.5 } ]',
        "testbed.toml": b'stage = [ { name = "rail1", profile = "belt" } ]\nwire = [ { array = "ap1", stage = "rail1" } ]',
        "profiles/belt.toml": b"arrival = { tolerance_mm = 0.05 }\naxis = { a = { carriage_mm = 60.0 } }",
    }
    writer_in(tmp_path, inputs=inputs).close()
    found = motion.rules(read(tmp_path / NAME), "rail1")
    assert (found.tolerance, found.gap, found.what) == (pytest.approx(5e-5), pytest.approx(0.06), "carriage")
    narrow = inputs | {"profiles/belt.toml": b"arrival = { tolerance_mm = 0.05 }\naxis = { a = { carriage_mm = 30.0 } }"}
    writer_in(tmp_path / "b", inputs=narrow).close()
    assert motion.rules(read(tmp_path / "b" / NAME), "rail1").gap == pytest.approx(0.5 * 299_792_458.0 / 3e9)


# ---- flags and provenance


def test_every_kind_of_trouble_raises_its_flag_and_a_clean_run_none(tmp_path):
    writer_in(tmp_path / "clean").close()
    clean = read(tmp_path / "clean" / NAME)
    assert flags(clean, facts(clean)) == []
    with writer_in(tmp_path) as writer:
        for _ in range(2):
            writer.event("warned", 1, T, id="paths-untrusted", device="", message="a fit does not predict its visits")
        writer.event("captured", 1, T, file="captures/x.sigmf-data", device="u1", purpose="measure", loss="some", clipped=0.02)
        writer.event("estimated", 1, T, what="noise per tone", of="u1", above_threshold=False)
        writer.event("judged", 1, T, designer="robust", shortfall=0.3, pass_=False, members=10)
        writer.event("designed", 2, T, designer="robust", infeasible=True)
        writer.event("failed", 2, T, id="no-answer", device="u2", message="silent for 2 s")
        writer.results([row(1, "robust", "u1", 18.0, 18.0, 16.9, upper_db=17.0, shortfall_db=1.0)])
        writer.end("fault", muted=True, at_rest=False, t=T)
    run = read(tmp_path / NAME)
    assert flags(run, facts(run)) == [
        "The promise of robust in round 1 was broken by 1.0 dB.",
        "1 design promised more than the worst member of the set keeps, by up to 0.30 dB.",
        "1 design could not be had: infeasible.",
        "Warning paths-untrusted (2 times): a fit does not predict its visits.",
        "Failure no-answer: u2 silent for 2 s.",
        "1 of 1 captures lost samples.",
        "1 of 1 captures clipped, up to 2 % of their samples.",
        "Below threshold, used in no set: noise per tone (1).",
        "The bench is NOT known to be muted and at rest.",
    ]


def test_a_calibration_is_shown_with_its_age_when_the_run_began(tmp_path):
    record = b'{"format": "hil.calibration.v1", "utc": "2026-03-12T00:00:00Z"}'
    with writer_in(tmp_path, inputs={"calibrations/emulated/power-u1-20260312.json": record}) as writer:
        writer.about["started"] = "2026-03-14T12:00:00.000Z"
        fields = dict(what="power", of="u1", record="power-u1-20260312.json", until="2026-04-12T00:00:00Z", drift_sigma=0.4)
        writer.event("calibrated", 0, T, **fields)
    run = read(tmp_path / NAME)
    run.about["started"] = "2026-03-14T12:00:00.000Z"
    assert "2.5 days" in provenance(run) and "0.4 std" in provenance(run)


def test_settings_that_became_another_value_show_both(tmp_path):
    from hil.device import Setting, Tolerance

    with writer_in(tmp_path) as writer:
        asked, became = (Setting(hertz, 15.36e6, (40.0, 40.0), (12.0,)) for hertz in (3.5e9, 3.5e9 + 2.0))
        writer.settings("u1", asked, became, Tolerance(5.0, 1.0, 0.5), t=T)
    page = provenance(read(tmp_path / NAME))
    assert "3.5 \N{RIGHTWARDS ARROW} 3.500000002 GHz \N{PLUS-MINUS SIGN} 5 Hz" in page and "40 dB \N{PLUS-MINUS SIGN} 0.5" in page
    assert "No calibration record was in force" in page
