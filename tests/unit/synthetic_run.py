"""A run folder such as the loop leaves, made without a loop: the quickstart's geometry, spherical waves, invented but plausible numbers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from hil.clock import VirtualClock
from hil.device import Capture, Setting
from hil.knowledge import Design
from hil.records import RunWriter

NAME = "20260314-152033-quickstart-k7qd"
WAVELENGTH = 299_792_458.0 / 3.5e9
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
ARRAYS = {"ap1": (0.0, 0.0, 2.0), "ap2": (23.0, -9.0, 2.0)}
USERS = {"u1": (14.0, 3.0, 1.5), "u2": (11.0, -6.0, 1.5)}
SPENT = {
    "sounding": 0.35,
    "estimating": 0.05,
    "designing": 0.9,
    "moving": 1.4,
    "settling": 0.12,
    "loading": 0.06,
    "measuring": 0.15,
    "idle": 0.02,
}
FIXED = np.tile(np.array([-0.75, -0.25, 0.25, 0.75]) * WAVELENGTH, (2, 1))
SPARSE = np.tile(np.array([-4.0, -4 / 3, 4 / 3, 4.0]) * WAVELENGTH, (2, 1))
BASELINES = {  # promised, predicted, measured, bound
    "fixed-rzf": (None, 11.0, 10.8, None),
    "fixed": (11.9, 12.8, 12.7, 13.1),
    "sparse": (14.7, 15.9, 15.7, 17.9),
}
ROBUST = [
    (15.9, 17.0, 16.8, 18.4),
    (16.6, 17.5, 17.4, 18.3),
    (16.8, 17.6, 17.5, 18.3),
    (16.85, 17.62, 17.55, 18.3),
    (16.9, 17.65, 17.5, 18.3),
]


class Wall:
    """A wall clock that runs a little faster than the run's, and UTC beside it."""

    def __init__(self, clock):
        self.clock = clock

    def seconds(self):
        return 0.8 * self.clock.now().seconds

    def utc(self):
        return datetime(2026, 3, 14, 15, 20, 33, tzinfo=UTC) + timedelta(seconds=self.seconds())


def channel(array, user, x, scatterers):
    """(position,) complex gain of local x along world y: a direct path and one echo per scatterer 6 dB below."""
    at = np.array(ARRAYS[array]) + np.asarray(x)[:, None] * np.array([0.0, 1.0, 0.0])
    direct = np.linalg.norm(at - USERS[user], axis=-1)
    lengths = [direct] + [np.linalg.norm(at - s, axis=-1) + np.linalg.norm(s - USERS[user]) for s in scatterers]
    weights = [1.0] + [0.5] * len(scatterers)
    return sum(w * WAVELENGTH / (4 * np.pi * r) * np.exp(-2j * np.pi * r / WAVELENGTH) for w, r in zip(weights, lengths))


def make(
    runs_dir,
    *,
    name=NAME,
    rounds=3,
    end="converged",
    baselines=BASELINES,
    shortfall_in=None,
    fields=True,
    targets=True,
    seed=1,
    designer="robust",
    depth="process",
    air=False,
    scenario=None,
):
    """Writes the folder and returns its path. rounds: of `robust`. end: None leaves the run interrupted in the middle of the next round."""
    rng, clock = np.random.default_rng(seed), VirtualClock()
    wall = Wall(clock)
    inputs = {
        "scenario.toml": scenario or (QUICKSTART / "scenario.toml").read_bytes(),
        "testbed.toml": (QUICKSTART / "testbed.toml").read_bytes(),
    }
    versions = {"hil": "0.1.0", "python": "3.11.9", "numpy": np.__version__, "torch": "2.9.0", "clarabel": "0.11.1"}
    writer = RunWriter.create(
        runs_dir,
        name,
        scenario_name="quickstart",
        command=f"hil run examples/quickstart --seed {seed}",
        seed=seed,
        depth=depth,
        air=air,
        inputs=inputs,
        versions=versions,
        commit="5f1d0c7",
        dirty=False,
        clock=clock,
        utc=wall.utc,
        wall=wall.seconds,
    )
    with writer:
        script = Script(writer, clock, rng, designer)
        script.opening(seed, list(baselines), depth)
        script.exploring(fields)
        for baseline, numbers in baselines.items():
            script.round(0, baseline, numbers, SPARSE if baseline == "sparse" else FIXED, targets=targets)
        positions = SPARSE
        for number in range(1, rounds + 1):
            wanted = positions + rng.normal(0, 0.4 / number**2, positions.shape) * WAVELENGTH * (1 if number > 1 else 0.8)
            positions = np.sort(np.clip(wanted, -4 * WAVELENGTH, 4 * WAVELENGTH), axis=-1)
            numbers = ROBUST[min(number, len(ROBUST)) - 1]
            script.round(number, designer, numbers, positions, targets=targets, fields=fields, short=0.4 if shortfall_in == number else 0.0)
        if end in ("converged", "limit"):
            writer.end(end, muted=True, at_rest=True)
        else:
            script.state(rounds + 1, "sounding", designer)
            script.state(rounds + 1, "estimating", designer)
            if end:
                writer.end(end, muted=True, at_rest=True)
    return writer.folder


def designer_file(designer):
    """A designer's name in letters that a file can have."""
    return "".join(letter if letter.isalnum() else "-" for letter in designer.lower())


class Script:
    def __init__(self, writer, clock, rng, designer):
        self.writer, self.clock, self.rng, self.designer = writer, clock, rng, designer
        self.now, self.version = "idle", 0
        self.scatterers = rng.uniform([2, -9, 0.5], [21, 9, 3.5], (6, 3))

    def state(self, number, to, designer=None):
        more = {"designer": designer} if designer else {}
        self.writer.event("state", number, from_=self.now, to=to, why="done", **more)
        self.now = to
        self.clock.sleep(SPENT.get(to, 0.1) * self.rng.uniform(0.8, 1.2))

    def opening(self, seed, baselines, depth):
        self.writer.event("started", format="hil.events.v1", seed=seed, depth=depth, designer=self.designer, baselines=baselines)
        for device in (*ARRAYS, "sense1", *USERS):
            part = "pluto" if device in USERS else "fmcomms5"
            self.writer.event(
                "opened", device=device, serial=f"emulated-{device}", profile=f"{part}-3g5", differences=[], part=part, node=device,
                receive_full_scale_dbm=-10.0,
            )  # fmt: skip
            asked = Setting(3.5e9, 15.36e6, (40.0,), (12.0,) if part == "fmcomms5" else ())
            self.writer.settings(device, asked, Setting(3.5e9 + 1.5, 15.36e6, (40.0,), asked.attenuation_db))
        for user in USERS:
            self.writer.event("levelled", 0, device=user, gain_db=[38.0], peak_dbfs=[-8.4])
            self.capture(0, f"r000-idle-{user}", user, "idle", 3.0, 0.0)
            noise = dict(what="noise per tone", of=user, value=[6e-16], unit="W", std=[2.7e-18], bound_std=[2.7e-18], residual_test=1.04)
            self.writer.event("estimated", 0, above_threshold=True, assumes=[], from_=[f"captures/r000-idle-{user}.sigmf-data"], **noise)

    def capture(self, number, name, user, purpose, noise, tones, **fact):
        """Codes: white noise of rms `noise` and a band of 384 of 512 tones of rms `tones`."""
        count = 4096
        white = self.rng.standard_normal((count, 2)) @ [1, 1j] * noise / 2**0.5
        spectrum = self.rng.standard_normal((count, 2)) @ [1, 1j] * (np.abs(np.fft.fftfreq(count)) < 0.375)
        codes = white + tones * np.fft.ifft(spectrum) / max(np.std(np.fft.ifft(spectrum)), 1e-30)
        whole = np.rint(np.stack([codes.real, codes.imag], -1))[None].astype(np.float32)
        samples = np.ascontiguousarray(whole / np.float32(2048)).view(np.complex64)[..., 0]
        capture = Capture(samples, 15.36e6, 3.5e9, gain_db=(38.0,), device=user)
        file, digest = self.writer.capture(name, capture, purpose=purpose, round=number, positions=[USERS[user]])
        self.writer.event(
            "captured", number, file=file, sha512=digest, device=user, purpose=purpose, samples=count, loss="unknown", clipped=0.0, **fact
        )

    def move(self, number, before, asked, reached, **fact):
        """`moved` events: mm of the axis count from the rail's left end."""
        self.clock.sleep(0.8)
        for index in range(len(ARRAYS)):
            gap = float(np.diff(np.sort(reached[index])).min())
            for axis in range(asked.shape[1]):
                start, goal, end = (float(one[index, axis]) + 0.35 for one in (before, asked, reached))
                self.writer.event(
                    "moved", number, stage=f"rail{index + 1}", axis="abcdefgh"[axis], from_=start, asked=goal, reached=end, std=2e-5,
                    peak_speed=0.1, settle=0.15, closest=gap, **fact,
                )  # fmt: skip
        self.standing = reached

    def exploring(self, fields):
        self.state(0, "exploring")
        visits = np.linspace(-4, 4, 8) * WAVELENGTH
        for x in visits[1:]:
            asked = (
                np.tile([visits[0], x - 1.0 * WAVELENGTH, x - 0.5 * WAVELENGTH, x], (2, 1))
                if x > -2 * WAVELENGTH
                else np.tile(visits[:4], (2, 1))
            )
            reached = asked + self.rng.normal(0, 5e-5, asked.shape)
            self.move(0, getattr(self, "standing", asked), asked, reached)
            self.writer.event(
                "placed", 0, purpose="explore", asked=asked, reached=reached, std=np.full(asked.shape, 5e-5), moved=6, movable=8
            )
            self.clock.sleep(0.9)
        if fields:
            self.visited = np.sort(np.concatenate([visits, visits[1:-1] + 0.5 * WAVELENGTH]))
            self.fields(0, None)
        self.writer.round_ends(0, "explore")

    def fields(self, number, sounded):
        grid = np.linspace(-4, 4, 241) * WAVELENGTH
        for array_index, array in enumerate(ARRAYS):
            for user in USERS:
                noise = lambda values, var: (
                    values + np.sqrt(var / 2) * (self.rng.standard_normal(len(values)) + 1j * self.rng.standard_normal(len(values)))
                )
                truth = channel(array, user, grid, self.scatterers)
                power = np.mean(np.abs(truth) ** 2)
                variance = power * 10 ** (-2.2 + 0.5 * (np.abs(grid) / grid.max()) ** 2)
                wobble = (
                    sum(
                        np.exp(2j * np.pi * self.rng.uniform(-0.9, 0.9) * grid / WAVELENGTH + 2j * np.pi * self.rng.uniform())
                        for _ in range(6)
                    )
                    / 6**0.5
                )
                arrays = dict(grid=grid, predicted=truth + 0.7 * np.sqrt(variance) * wobble, variance=variance)
                measured = 10**-3.3 * power
                arrays |= dict(visited=self.visited, visited_variance=np.full(len(self.visited), measured))
                arrays["visited_value"] = noise(channel(array, user, self.visited, self.scatterers), measured)
                if sounded is not None:
                    x = sounded[array_index]
                    arrays |= dict(
                        sounded=x,
                        sounded_value=noise(channel(array, user, x, self.scatterers), measured),
                        sounded_variance=np.full(4, measured),
                    )
                file, _ = self.writer.field(number, array, user, arrays)
                self.writer.event("mapped", number, file=file, transmitter=array, user=user, paths=6, residual_db=-22.0)

    def symbols(self, evm):
        """16QAM of unit mean energy with that rms error."""
        levels = np.array([-3, -1, 1, 3]) / 10**0.5
        sent = self.rng.choice(levels, 80) + 1j * self.rng.choice(levels, 80)
        return np.round(sent + evm * (self.rng.standard_normal((80, 2)) @ [1, 1j]) / 2**0.5, 3)

    def round(self, number, designer, numbers, positions, *, targets, fields=False, short=0.0):
        promised, predicted, measured, bound = numbers
        began, self.version = self.clock.now(), self.version + 1
        fact = dict(designer=designer, version=self.version)
        for state in ("designing", "moving", "settling"):
            self.state(number, state, designer)
        reached = positions + self.rng.normal(0, 8e-5, positions.shape)
        moved = 0 if designer == "fixed" else 8 if number < 2 else 5
        if moved:
            self.move(number, self.standing, positions, reached, designer=designer)
        self.writer.event(
            "placed",
            number,
            purpose="design",
            designer=designer,
            asked=positions,
            reached=reached,
            std=np.full(positions.shape, 5e-5),
            moved=moved,
            movable=8,
        )
        self.state(number, "sounding", designer)
        for user in USERS:
            codes = self.rng.integers(-1500, 1500, (1, 200, 2)).astype(np.float32)
            capture = Capture((codes / np.float32(2048)).view(np.complex64)[..., 0], 15.36e6, 3.5e9, gain_db=(38.0,), device=user)
            file, digest = self.writer.capture(
                f"r{number:03d}-v{self.version}-sound-{user}", capture, purpose="sound", round=number, positions=[USERS[user]]
            )
            self.writer.event("captured", number, file=file, sha512=digest, device=user, purpose="sound", samples=200, designer=designer)
        self.state(number, "estimating", designer)
        if fields:
            self.fields(number, reached)
        self.state(number, "designing", designer)
        for array in ARRAYS:
            for user in USERS:
                of, parts = f"{array}-{user}", {"noise": 1.1e-5, "moving": 2.2e-5}
                size, least = np.full(32, sum(parts.values())), np.full(32, 1.05e-5)
                more = dict(unit="1", confidence=0.95, age=0.0, parts=parts)
                self.writer.event("bounded", number, what="channel", of=of, shape="ball", size=size, bound_size=least, designer=designer, **more)
                gain = dict(value=4e-7, unit="power gain", std=1e-11, bound_std=None, residual_test=None)
                self.writer.event("estimated", number, what="channel", of=of, above_threshold=True, assumes=[], from_=[], designer=designer, **gain)
        design = Design(np.ones((2, 32, 4, 2), complex), reached, promised, predicted, bound, designer=designer, steps=400)
        file, _ = self.writer.design(number, designer, design)
        self.writer.event(
            "designed",
            number,
            file=file,
            promised=promised,
            predicted=predicted,
            bound=bound,
            unit="dB",
            better="up",
            objective="sinr",
            **fact,
        )
        if promised is not None:
            self.writer.event("judged", number, worst=promised + 0.02, shortfall=0.0, unit="dB", members=4000, pass_=True, **fact)
        for state in ("loading", "measuring"):
            self.state(number, state, designer)
        measured -= (measured - promised + short) if short else 0.0
        for array, user in zip(ARRAYS, USERS):
            self.capture(number, f"r{number:03d}-measure-{designer_file(designer)}-{user}", user, "measure", 3.0, 60.0, **fact)
            offset = dict(value=[(821.0 if user == "u2" else -13686.0) + 3.0 * self.version], std=[0.01], bound_std=[0.008], residual_test=None)
            self.writer.event("estimated", number, what="carrier offset", of=f"{array}-{user}", unit="Hz", above_threshold=number != 2, assumes=[],
                              from_=[], designer=designer, **offset)  # fmt: skip
        error, crlb = 0.5 + 0.05 * self.rng.standard_normal(), 0.48 - 0.01 * number
        if targets:
            fix = np.array([9.4, -3.7, 1.0]) + self.rng.normal(0, 0.35, 3) * [1, 1, 0]
            covariance = np.array([[0.16, 0.06, 0], [0.06, 0.09, 0], [0, 0, 0.01]])
            surveyed = None if self.writer.about["air"] else np.array([9.4, -3.7, 1.0])
            error = None if surveyed is None else float(np.linalg.norm((fix - surveyed)[:2]))
            target = dict(position=fix, covariance=covariance, error=error, surveyed=surveyed, crlb=crlb, above_threshold=True, loss_db=[3.0, 12.0])
            self.writer.event("measured", number, target=target, **fact)
        rows = []
        for index, user in enumerate(USERS):
            gap = 0.35 * index
            values = dict(predicted_db=predicted + gap, evm=10 ** (-(measured + gap) / 20), upper_db=measured + gap + 0.15, std_db=0.06)
            values |= {} if promised is None else dict(promised_db=promised + gap / 2)
            shown = dict(blocks_db=np.full(32, measured + gap), blocks_std_db=np.full(32, 0.1), equalised=self.symbols(values["evm"]))
            self.writer.event(
                "measured", number, user=user, sinr_db=measured + gap, bit_errors=3, bits=96000, rate_bit=5.6, **shown, **values, **fact
            )
            rows.append(
                dict(
                    round=number,
                    user=user,
                    promised_db=None,
                    measured_db=measured + gap,
                    bound_db=bound,
                    bound_anywhere_db=20.4,
                    shortfall_db=None if promised is None else max(0.0, promised + gap / 2 - values["upper_db"]),
                    moved=moved,
                    movable=8,
                    rate_bit=5.6,
                    bit_errors=3,
                    bits=96000,
                    target_error_m=error if targets else None,
                    target_crlb_m=crlb if targets else None,
                    took_s=None,
                )
                | values
                | fact
            )
        self.state(number, "idle", designer)
        took = self.clock.now().since(began)
        self.writer.results([row | dict(took_s=took) for row in rows])
        self.writer.round_ends(number, designer if number == 0 else "round")
