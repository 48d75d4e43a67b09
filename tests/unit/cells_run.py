"""A run folder of two cells such as the loop leaves, made without a loop: the example's geometry, invented but plausible numbers."""

from pathlib import Path

import numpy as np

from hil.clock import VirtualClock
from hil.device import Capture
from hil.knowledge import Design
from hil.records import RunWriter

NAME = "20260314-152033-multicell-k7qd"
MULTICELL = Path(__file__).parents[2] / "examples" / "multicell"
USERS = {"u1": 0, "u2": 0, "u3": 0, "u4": 1, "u5": 1, "u6": 1}  # -> cell
CELLS = ("west", "east")
BASES = np.array([[0.0, 0.0, 1.6], [20.0, 0.0, 1.6]])
TARGETS = np.array([[6.0, -4.0, 1.5], [13.0, 6.0, 1.5]])
NOTES = ["point targets", "one bounce", "even walk", "static room", "distance known to 0.2 m"]
RUN = [(0, "cbf-blp", 10.9), (1, "comp-blp", 12.4), (2, "comp-blp", 12.2)]  # round, designer, worst user's SINR


def azimuth(cell, place):
    """From broadside, which looks at the target, towards y: both arrays lie along +y."""
    away = place - BASES[cell]
    return np.arctan2(away[1], abs(away[0]))


def make(runs_dir, *, rounds=RUN, gave_way=(), unsure=(), broken=(), end="limit", gains=(1.0, 1.0), phases=True, errors=(0.004, -0.002)):
    """Writes the folder and returns its path. gave_way, broken: (round, designer); unsure: (round, cell). gains: echo believed in round 0 and
    later. errors: (cell,) rad."""
    clock = VirtualClock()
    inputs = {name: (MULTICELL / name).read_bytes() for name in ("scenario.toml", "testbed.toml")}
    about = dict(scenario_name="multicell", command="hil run examples/multicell", seed=1, depth="process", inputs=inputs, versions={}, clock=clock)
    with RunWriter.create(runs_dir, NAME, **about) as writer:
        writer.event("started", None, format="hil.events.v1", seed=1, depth="process", designer="comp-blp", baselines=["cbf-blp"])
        for user in USERS:
            writer.event("opened", 0, device=user, receive_full_scale_dbm=-10.0, differences=[])
        for number, designer, sinr in rounds:
            _round(writer, clock, number, designer, sinr, gave_way=(number, designer) in gave_way, broken=(number, designer) in broken,
                   unsure=[cell for at, cell in unsure if at == number], gain=gains[number > 0], phases=phases, errors=errors)  # fmt: skip
        if end:
            writer.end(end, muted=True, at_rest=True)
    return writer.folder


def _round(writer, clock, number, designer, sinr, *, gave_way, broken, unsure, gain, phases, errors):
    rng, fact = np.random.default_rng([number, len(designer)]), {"designer": designer}
    mode = "cbf" if gave_way or designer.startswith(("cbf", "nominal-cbf")) else "comp"
    state = "idle"
    for to in ("sounding", "estimating", "designing", "loading", "measuring", "idle"):
        writer.event("state", number, from_=state, to=to, why="done", **fact)
        state = to
        clock.sleep(0.2)
    if "comp" in designer and phases:
        writer.event("estimated", number, what="phase between stations", of="stations against 0", value=[0.0, 0.0012], unit="rad/s", std=[0.0, 0.004],
                     bound_std=[0.0, 0.004], above_threshold=True, assumes=["3 turns seen", "constant rate", "0.0284 rad after 2.5 s"], from_=[],
                     residual_test=None, **fact)  # fmt: skip
    if gave_way:
        writer.event("warned", number, id="not-coherent", message="the phase between base stations is not kept: comp-blp gives way to cbf-blp",
                     device="", found="0.3 rad", allowed="0.2 rad", fix="sound more often")  # fmt: skip
    channel = 1e-3 * np.ones((2, 6, 4, 1, 6), complex)  # norm of a link: 1e-3 sqrt(6)
    for n, cell in enumerate(CELLS):
        for user in USERS:
            turned = 1e-4 * (n == 1 and mode == "comp")
            writer.event("bounded", number, what="channel", of=f"{cell}-{user}", shape="ball", size=[5e-5 + turned] * 8, bound_size=[7e-6] * 8,
                         unit="1", confidence=0.95, age=0.1, parts={"noise": 1e-5, "moving": 4e-5, "phase": turned}, **fact)  # fmt: skip
    designed = np.deg2rad(0.005 if mode == "cbf" else 0.003) / gain
    design = Design(np.ones((2, 8, 6, 6), complex), np.zeros((4, 6)), 10.0, sinr - 0.1, designer=designer, mode=mode)
    extras = {"channel": channel, "gain": gain * np.ones((2, 2), complex), "angle_std": 0.03 * np.ones((2, 2))}
    file, _ = writer.design(number, designer, design, extras)
    writer.event("designed", number, file=file, promised=10.0, predicted=sinr - 0.1, bound=None, unit="dB", better="up", objective="sinr", **fact)
    writer.event("judged", number, worst=10.0, shortfall=0.0, unit="dB", members=100, pass_=True, **fact)
    bearings = []
    for cell, name in enumerate(CELLS):
        sure = name not in unsure
        more = [] if sure else ["model misfit: 4.1 times the noise is left", "model misfit"]
        told = dict(cell=name, angle=azimuth(cell, TARGETS[cell]) + errors[cell], error=errors[cell], surveyed=TARGETS[cell], unit="rad", std=0.003,
                    crlb=0.002, ideal=0.001, above_threshold=sure, loss_db=1.5, snr_db=30.0, assumes=NOTES + more)  # fmt: skip
        writer.event("measured", number, target=told, **fact)
        bearings.append((name, errors[cell], sure))
    rows = []
    for index, (user, cell) in enumerate(USERS.items()):
        level = sinr + 0.5 * index - (sinr - 9.0 if broken else 0.0)
        values = dict(promised_db=10.0, predicted_db=level - 0.1, std_db=0.06, upper_db=level + 0.15, evm=10 ** (-level / 20))
        points = np.exp(1j * np.pi / 4 * rng.choice([1, 3, 5, 7], 16))
        writer.event("estimated", number, what="carrier offset", of=f"stations-{user}", unit="Hz", value=[100.0 * index], std=[0.1], bound_std=[0.1],
                     above_threshold=True, assumes=[], from_=[], residual_test=None, **fact)  # fmt: skip
        codes = np.rint(40 * rng.standard_normal((1, 1024, 2))).astype(np.float32)
        capture = Capture((codes / np.float32(2048)).view(np.complex64)[..., 0], 3.84e6, 3.5e9, gain_db=(38.0,), device=user)
        file, digest = writer.capture(f"r{number:03d}-measure-{designer}-{user}", capture, purpose="measure", round=number)
        writer.event("captured", number, file=file, sha512=digest, device=user, purpose="measure", samples=1024, loss="none", clipped=0.0, **fact)
        writer.event("measured", number, user=user, sinr_db=level, bit_errors=0, bits=48240, rate_bit=4.0, blocks_db=[level] * 8,
                     blocks_std_db=[0.08] * 8, equalised=points, **values, **fact)  # fmt: skip
        name, error, sure = bearings[cell]
        rows.append(
            values | fact | dict(round=number, user=user, measured_db=level, shortfall_db=max(0.0, 10.0 - values["upper_db"]), moved=0, movable=0,
            took_s=1.2, mode=mode, symbol_errors=index, symbols=100, target=name, angle_error_deg=np.rad2deg(error), angle_std_deg=np.rad2deg(0.003),
            angle_crlb_deg=np.rad2deg(0.001), angle_promised_deg=np.rad2deg(designed), angle_trusted=int(sure))
        )  # fmt: skip
    writer.results(rows)
    writer.round_ends(number, "round" if number else designer)
