"""Sounding: set the levels, hear the silence, let one access point after the other speak, and make channels of what was heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture, DeviceError
from hil.estimate import carrier, channel, mirror, noise
from hil.estimate.carrier import Carrier
from hil.estimate.channel import ToneChannel
from hil.estimate.loss import Clean
from hil.estimate.mirror import Spurs
from hil.estimate.stillness import Looks, pool
from hil.knowledge import Estimate
from hil.loop.arrays import BenchArray
from hil.loop.clocks import Clocks
from hil.loop.intact import intact, sifted
from hil.loop.lab import Lab, Sent, Taken
from hil.waveform.amplitude import receive_scale
from hil.waveform.crest import COMBS
from hil.waveform.frame import Frame
from hil.waveform.numerology import Numerology
from hil.waveform.sounding import SoundingFrame

PILOTS, SYMBOLS = 24, 28  # of a frame: the rest is preamble, header, closing
FRAMES = 2  # whole sounding frames that a capture holds
LOOKS = 2  # soundings of one place, to see what moves
APART_S = 0.05  # between them: a walker's echo has turned by then
IDLE_SAMPLES = 1 << 16
COHERENT_DB = 12.0  # four precoded elements over one, and two access points over one, with a little to spare
PEAK_DB = 12.0  # an OFDM signal's peak over its mean
LEVEL_MARGIN_DB = 2.0
THREADS = 2
AGAIN = "-again"  # in the name of a capture that was taken a second time


@dataclass(frozen=True, slots=True, eq=False)
class Speaker:
    """Arrays that speak at one time: one alone, or several whose radios share reference and start."""

    name: str
    arrays: tuple[BenchArray, ...]

    @property
    def antennas(self) -> int:
        return sum(array.elements for array in self.arrays)

    @property
    def seats(self) -> int:
        """Places of the pilots' comb, the antennas' in front; nobody sends what is left over."""
        return next((places for places in COMBS if places >= self.antennas), self.antennas)

    @property
    def pilots(self) -> int:
        """Symbols in which every antenna is sounded."""
        return PILOTS if PILOTS % self.seats == 0 else 2 * self.seats

    @property
    def symbols(self) -> int:
        """Of a frame."""
        return max(SYMBOLS, self.pilots + 4)

    def frame(self, numerology: Numerology, device: int, version: int) -> SoundingFrame:
        """Every element at its cap."""
        power = np.concatenate([np.full(array.elements, array.element_power) for array in self.arrays])
        power = np.pad(power, (0, self.seats - self.antennas), mode="edge")
        return SoundingFrame(numerology, device, version, self.seats, power, pilot_symbols=self.pilots, symbols=self.symbols)

    def parts(self, frame: SoundingFrame) -> dict[str, Part]:
        """Radio -> what it sends of a frame."""
        ends = np.cumsum([array.elements for array in self.arrays])
        return {array.radio: Part(frame, int(end) - array.elements, int(end)) for array, end in zip(self.arrays, ends)}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some antennas of a frame."""

    frame: Sent
    first: int
    end: int

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W)."""
        return self.frame.samples()[self.first : self.end]


class Sounding:
    """Prepared sounding frames, one version per speaker, and the clocks heard so far, which make the next acquisition short."""

    def __init__(self, lab: Lab, speakers: Sequence[Speaker] | None = None) -> None:
        self.lab = lab
        self.speakers = tuple(speakers or (Speaker(array.name, (array,)) for array in lab.transmitters))
        self.frames: dict[str, SoundingFrame] = {}
        self.versions: dict[str, int] = {}
        self.noise: dict[str, Estimate] = {}  # radio -> watts per tone, (channel,)
        self.clocks = Clocks(lab)
        self._kept: dict[str, Clean] = {}  # captures that were looked at and not yet understood

    @property
    def receivers(self) -> list[str]:
        """Radios that listen: the users', then the sensing arrays'."""
        return [*self.lab.user_radio.values(), *(array.radio for array in self.lab.sensors)]

    # -- once per trial --------------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Load a sounding frame for every speaker, each a version of its own."""
        lab = self.lab
        for device, speaker in enumerate(self.speakers):
            version = lab.next_version()
            self.frames[speaker.name] = speaker.frame(lab.numerology, device, version)
            self.versions[speaker.name] = version
        for speaker in self.speakers:
            for array in speaker.arrays:
                lab.set_attenuation(array)
            lab.prepare(self.versions[speaker.name], speaker.parts(self.frames[speaker.name]))

    def level(self, again: int = 0) -> None:
        """Set receive gains so that everything at once, in phase and at its peak, stays below full scale; then hear the noise at them.

        again: counts how much of a resumed run was there before; its captures take other names.
        Raises DeviceError `too-strong` where not even the least gain does.
        """
        lab = self.lab
        loudest = dict.fromkeys(self.receivers, -np.inf)
        for speaker in self.speakers:
            whole = self.frames[speaker.name].length  # one turn of the frame has one mean power, wherever it begins
            for radio, taken in self._speak(speaker.name, f"level{again or ''}-{speaker.name}", "sound", whole, self.receivers).items():
                amplitude = taken.amplitude(lab.capability[radio])
                power = float(np.max(np.mean(np.abs(amplitude) ** 2, axis=-1)))
                loudest[radio] = max(loudest[radio], 10.0 * np.log10(power / 1e-3))
        for radio, dbm in loudest.items():
            capability = lab.capability[radio]
            wanted = capability.receive_full_scale_dbm - (dbm + COHERENT_DB + PEAK_DB + LEVEL_MARGIN_DB)
            least, most = capability.receive_gain_db
            if wanted < least:
                raise DeviceError("too-strong", "the signal would pass full scale at the least gain", where=radio, found=f"{dbm:.1f} dBm",
                                  allowed=f"{dbm - least + wanted:.1f} dBm", fix="less power, an attenuator, or more distance")  # fmt: skip
            gain = min(most, least + np.floor((wanted - least) / capability.receive_gain_step_db) * capability.receive_gain_step_db)
            became = lab.configure(radio, replace(lab.setting[radio], receive_gain_db=(float(gain),) * capability.receive_channels))
            headroom = float(dbm - (capability.receive_full_scale_dbm - gain))
            lab.event("levelled", device=radio, gain_db=list(became.receive_gain_db), peak_dbfs=[round(headroom, 2)] * capability.receive_channels)
        for radio, taken in lab.capture(f"idle{again or ''}", "idle", dict.fromkeys(self.receivers, IDLE_SAMPLES)).items():
            scale = receive_scale(lab.capability[radio], taken.capture.gain_db)
            self.noise[radio] = replace(noise.idle(taken.capture, lab.numerology, scale=scale), of=radio, sources=(taken.file,))
            say(lab, self.noise[radio])

    # -- every time ------------------------------------------------------------------------------------------------------------------------

    def listening(self, look: int) -> list[str]:
        """Radios that listen to a look: everybody to the first, the users to what has moved since."""
        return self.receivers if look == 0 else list(self.lab.user_radio.values())

    def hear(self, name: str, purpose: str) -> list[dict[str, dict[str, Taken]]]:
        """Let one speaker after the other speak, twice; look -> speaker -> receiver -> capture."""
        count = FRAMES * self.frames[self.speakers[0].name].length + 2 * self.lab.numerology.symbol_samples
        looks = []
        for look in range(LOOKS):
            if look:
                self.lab.clock.sleep(APART_S)
            looks.append({
                speaker.name: self._heard_whole(speaker.name, f"{name}-l{look}-{speaker.name}", purpose, count, self.listening(look))
                for speaker in self.speakers
            })  # fmt: skip
        return looks

    def _heard_whole(self, array: str, name: str, purpose: str, samples: int, radios: Sequence[str]) -> dict[str, Taken]:
        """What one access point said; a receiver that missed part of it listens once more."""
        takes = self._speak(array, name, purpose, samples, radios)
        kept, again = sifted(self.lab, takes, lambda taken: self._intact(array, taken))
        self._kept |= kept
        if again:
            takes |= self._speak(array, name + AGAIN, purpose, samples, again)
        return takes

    def _speak(self, array: str, name: str, purpose: str, samples: int, radios: Sequence[str]) -> dict[str, Taken]:
        lab = self.lab
        lab.apply(self.versions[array])
        with lab.muted_after("one at a time"):
            return lab.capture(name, purpose, dict.fromkeys(radios, samples), transmitter=array)

    def understand(self, heard: Mapping[str, Mapping[str, Taken]], *, raw: bool) -> dict[str, dict[str, ToneChannel]]:
        """Speaker -> receiver -> tone channel. raw: every tone on its own, for path fits; else smoothed over the delays there are."""
        links = [(array, taken) for array, takes in heard.items() for taken in takes.values()]
        with ThreadPoolExecutor(THREADS) as pool:  # transforms let go of the interpreter; every link is estimated for itself
            found = list(pool.map(lambda link: self._channel(*link, raw), links))
        channels: dict[str, dict[str, ToneChannel]] = {array: {} for array in heard}
        for (array, taken), estimated in zip(links, found):
            channels[array][taken.radio] = estimated
        return channels

    def links(self, looks: Sequence[Mapping[str, Mapping[str, ToneChannel]]]) -> dict[tuple[int, int], Looks]:
        """(transmitter, user) -> the looks at that link as one, and how much of it moves."""
        lab = self.lab
        pooled = {}
        for t, array in enumerate(lab.transmitters):
            for u, user in enumerate(lab.users):
                channel = lab.user_channel[user]
                found = [look[array.name][lab.user_radio[user]] for look in looks]
                values = np.array([each.value[channel].T for each in found])
                variance = np.array([each.variance[channel].mean(0) for each in found])
                pooled[t, u] = pool(values, variance, lab.numerology.frequencies_hz)
        return pooled

    def _channel(self, array: str, taken: Taken, raw: bool) -> ToneChannel:
        lab, frame = self.lab, self.frames[array]
        whole = self._kept.pop(taken.name, None) or self._intact(array, taken)
        capture, found, _ = cleaned(whole.capture, frame, self._carrier(array, taken.radio, whole))
        scale = receive_scale(lab.capability[taken.radio], taken.capture.gain_db)
        more = {"window_s": None} if raw else {}
        return channel.estimate(capture, frame, found, scale=scale, **more)

    def _intact(self, array: str, taken: Taken) -> Clean:
        whole = intact(taken.capture, self.frames[array], self.clocks.near(array, taken.radio))
        self.clocks.acquired(array, taken.radio, whole.acquisition.cfo_hz)
        return whole

    def _carrier(self, array: str, radio: str, whole: Clean) -> Carrier:
        """Carrier of one access point at one receiver, remembered."""
        found = carrier.refine(whole.capture, self.frames[array], whole.acquisition)
        self.clocks.heard(array, radio, found.cfo)
        return found

    def level_per_tone(self) -> Estimate:
        """(user,) noise in watts per tone at the users, from the idle capture."""
        lab = self.lab
        each = [(self.noise[lab.user_radio[user]], lab.user_channel[user]) for user in lab.users]
        value = np.array([estimate.value[c] for estimate, c in each])
        covariance = np.diag([estimate.covariance[c, c] for estimate, c in each])
        sources = tuple(source for estimate, _ in each for source in estimate.sources)
        return Estimate("noise per tone", "users", value, covariance, "W", bound=covariance, assumptions=each[0][0].assumptions, sources=sources)


def cleaned(capture: Capture, frame: Frame, found: Carrier, leakages_hz: Sequence[float] = ()) -> tuple[Capture, Carrier, Spurs]:
    """A capture without what its receiver (DC, image) and other transmitters (leakage) add to a frame, and the carrier found in what is left."""
    capture, spurs = mirror.clean(capture, frame, found, leakages_hz)
    return capture, carrier.refine(capture, frame, found) if spurs.removed.any() else found, spurs


def say(lab: Lab, estimate: Estimate, value: object = None, std: object = None, bound_std: object = None) -> None:
    """An `estimated` event; large values are summarised by the caller."""
    lab.event(
        "estimated", what=estimate.what, of=estimate.of, value=estimate.value if value is None else value, unit=estimate.unit,
        std=estimate.std if std is None else std, bound_std=estimate.bound_std if bound_std is None else bound_std,
        above_threshold=estimate.above_threshold, assumes=list(estimate.assumptions), from_=list(estimate.sources),
        residual_test=estimate.residual_test,
    )  # fmt: skip


def sounded_knowledge(lab: Lab, looks: Sequence[Mapping[str, Mapping[str, ToneChannel]]], links: Mapping[tuple[int, int], Looks]) -> Estimate:
    """The channels to the users as one Estimate for a `Knowledge`: value (transmitter, user, tone, 1, antenna), covariance (transmitter,
    user, block, antenna, antenna) of what a block's error has in common."""
    shape = (len(lab.transmitters), len(lab.users))
    values = np.array([[links[t, u].mean.T[:, None] for u in range(shape[1])] for t in range(shape[0])])
    responses = [
        [[look[array.name][lab.user_radio[user]].response for look in looks] for user in lab.users] for array in lab.transmitters
    ]  # fmt: skip
    channels = [lab.user_channel[user] for user in lab.users]

    def pooled(which: str) -> NDArray:
        return np.array([
            [sum(np.asarray(getattr(one, which))[channels[u]] for one in each) / len(each) ** 2 for u, each in enumerate(row)] for row in responses
        ])  # fmt: skip

    everything = [one for row in responses for each in row for one in each]
    return Estimate(
        "channel", "users", values, pooled("covariance"), "1", bound=pooled("bound"), epoch=lab.clock.now(),
        above_threshold=all(one.above_threshold for one in everything), assumptions=everything[0].assumptions,
        residual_test=max(one.residual_test or 0.0 for one in everything),
    )  # fmt: skip
