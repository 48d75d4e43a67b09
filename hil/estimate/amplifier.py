"""A power amplifier's coefficients, from a coupler or over the air: y = g (beta1 x + beta3 x |x|^2 + ..) + noise.

kappa = beta3/beta1, per watt of x. Where g is unknown only kappa is identified; beta1 then belongs to the channel, and the estimate says so.
Distortion is computed at four times the sample rate and cut to the band that a capture shows: |x|^2 x is three times as wide as x, and at
the sample rate itself it would fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, symbols_of
from hil.estimate.usable import assumptions_of, refuse_clipped, samples_of
from hil.knowledge import Estimate
from hil.uncertainty import disc_factor
from hil.waveform import ofdm
from hil.waveform.frame import Frame

OVERSAMPLING = 4
HIGHEST = 9  # order tried
GAIN_DB = 0.3  # by which another order must lower the error of data it was not fitted to
CLEAR = 3.0  # standard deviations that the highest coefficient must stand out
MISFIT_DB = -30.0  # of the small-signal output: where model and binned gain part, the model ends
LEAST_SYMBOLS = 8  # of a frequency-selective channel, free on every tone
_BIN = 30  # samples that tell the gain at one drive
_BINS = 48


@dataclass(frozen=True, slots=True, eq=False)
class Amplifier:
    """kappa: value (order,) complex, beta3/beta1, beta5/beta1, .. in 1/W, 1/W^2, ..; kappa.covariance (order, order) E[e e^H], its bound.
    beta1: small-signal gain with the coupler's, None where the channel hides it. noise: s2 per sample or tone. highest: sqrt(W), largest
    drive seen, valid_to: up to which the model is within -30 dB of the gain seen at each drive; nothing is told beyond either."""

    kappa: Estimate
    beta1: complex | None
    noise: float
    highest: float
    valid_to: float

    @property
    def order(self) -> int:
        return 2 * len(self.kappa.value) + 1

    def radius(self, confidence: float = 0.95) -> float:
        """Of the disc about the cubic coefficient kappa[0] that holds with `confidence`."""
        return disc_factor(confidence) * float(np.sqrt(np.real(self.kappa.covariance[0, 0])))

    def output(self, drive: ArrayLike) -> NDArray[np.complex128]:
        """beta1 x (1 + kappa |x|^2 + ..) of x in sqrt(W), beta1 = 1 where it is not known. Raises HilError beyond `valid_to`."""
        drive = np.asarray(drive, dtype=np.complex128)
        largest = float(np.max(np.abs(drive), initial=0.0))
        if largest > self.valid_to * (1.0 + 1e-9):
            raise HilError("amplifier-range", "the amplifier's model does not reach that far", where=self.kappa.of,
                           found=f"|x| up to {largest:.4g} sqrt(W)", allowed=f"{self.valid_to:.4g} sqrt(W)",
                           fix="lower the drive, or measure at this drive and with a higher order")  # fmt: skip
        return (1.0 if self.beta1 is None else self.beta1) * drive * _gain(self.kappa.value, np.abs(drive))


def gain(kappa: complex, power: ArrayLike) -> NDArray[np.complex128]:
    """Bussgang gain over beta1 of a cubic amplifier for complex Gaussian input of mean `power` watts: 1 + 2 kappa p."""
    return 1.0 + 2.0 * kappa * np.asarray(power)


def distortion(kappa: complex, spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distortion over |beta1|^2 on a cubic amplifier's output: 2 |kappa|^2 S * S * S(-), S watts per bin of the input.

    spectrum: (bin,) by rising frequency. Returns (3 bin - 2,) watts per bin, centred on the same frequency.
    """
    return 2.0 * abs(kappa) ** 2 * np.convolve(np.convolve(spectrum, spectrum), spectrum[::-1])


def evm_floor(kappa: complex, power: ArrayLike, in_band: bool = True) -> NDArray[np.float64]:
    """rms error over rms signal that a cubic amplifier leaves: sqrt(2) |kappa| p/|1 + 2 kappa p|; two thirds of its power lie in band."""
    share = 2.0 / 3.0 if in_band else 1.0
    return np.sqrt(2.0 * share) * abs(kappa) * np.asarray(power) / np.abs(gain(kappa, power))


def _gain(kappa: NDArray[np.complex128], size: NDArray[np.float64]) -> NDArray[np.complex128]:
    return 1.0 + sum(value * size ** (2 * (i + 1)) for i, value in enumerate(kappa))


def basis(sent: NDArray[np.complex128], order: int = 3, delay: float = 0.0) -> NDArray[np.complex128]:
    """(odd order, sample) x, x|x|^2, .. of a cyclic waveform (sample,), cut to its sample rate, `delay` samples later."""
    size, half = len(sent), (len(sent) + 1) // 2
    spectrum = np.fft.fft(sent)
    wide = np.zeros(OVERSAMPLING * size, dtype=np.complex128)
    wide[:half], wide[half - size :] = spectrum[:half], spectrum[half:]
    fine = np.fft.ifft(wide) * OVERSAMPLING
    power = np.square(np.abs(fine))
    out = np.fft.fft(np.stack([fine * power**i for i in range((order + 1) // 2)]), axis=-1) / OVERSAMPLING
    kept = np.concatenate([out[:, :half], out[:, half - size :]], axis=-1)
    return np.fft.ifft(kept * np.exp(-2j * np.pi * delay * np.fft.fftfreq(size)))


def fit(regressors: NDArray[np.complex128], received: NDArray[np.complex128], of: str = "amplifier") -> Amplifier:
    """Least squares of received (sample,) on regressors (odd order, sample), aligned; C = s2 (A^H A)^-1 with n - p degrees of freedom.

    var(kappa) = (C22 + |kappa|^2 C11 - 2 Re(conj(kappa) C21))/|theta1|^2: both coefficients' errors, which are correlated. No judgement of
    the model: `coupler` makes it.
    """
    count = len(regressors)
    inverse = np.linalg.inv(regressors.conj() @ regressors.T)
    theta = inverse @ (regressors.conj() @ received)
    left = received - theta @ regressors
    noise = float(np.sum(np.square(np.abs(left)))) / (len(received) - count)
    kappa = theta[1:] / theta[0]
    slope = np.concatenate([-kappa[:, None], np.eye(count - 1)], axis=1) / theta[0]
    covariance = noise * slope @ inverse @ slope.conj().T
    highest = float(np.max(np.abs(regressors[0])))
    told = Estimate("amplifier kappa", of, kappa, covariance, "1/W", bound=covariance, assumptions=("memoryless",))
    return Amplifier(told, complex(theta[0]), noise, highest, highest)


def coupler(capture: Capture, sent: NDArray[np.complex128], *, scale: float = 1.0, order: int | None = None, channel: int = 0) -> Amplifier:
    """From a capture of the device's own coupled output: one oscillator, so no carrier offset and no drift, and a flat path.

    sent: (sample,) cyclic waveform in sqrt(W), of at least the capture's length over two. scale: sqrt(W) at the amplifier's output per unit
    of the capture. order: odd; None: chosen by the error on the half of the capture that was not fitted. Raises HilError for a capture that
    is clipped or shorter than the waveform.
    """
    refuse_clipped(capture)
    samples = samples_of(capture, len(sent), capture.sample_rate_hz)[channel].astype(np.complex128) * scale
    delay = _delay(sent, samples[: len(sent)])
    place = np.arange(len(samples)) % len(sent)

    def regressors(highest: int) -> NDArray[np.complex128]:
        return basis(sent, highest, delay)[:, place]

    half = len(samples) // 2

    def tried(highest: int) -> tuple[float, float]:
        rows = regressors(highest)
        fitted = fit(rows[:, :half], samples[:half])
        return _missed(fitted, rows[:, half:], samples[half:]), _clear(fitted.kappa.value, fitted.kappa.covariance)

    chosen = order or _choose(tried)
    found = fit(regressors(chosen), samples, of=capture.device or "amplifier")
    drive = basis(sent, 1, delay)[0, place]
    gains = samples / np.where(drive == 0.0, 1.0, drive)
    notes = ("memoryless", f"order {chosen}", *assumptions_of(capture))
    estimate = replace(found.kappa, assumptions=notes, loss=capture.loss, epoch=capture.clock)
    binned = _limited(replace(found, kappa=estimate), np.abs(drive), gains / found.beta1)
    richest = fit(regressors(HIGHEST), samples)
    assert found.beta1 is not None and richest.beta1 is not None
    parted = _parted(replace(found, kappa=estimate), richest.beta1 / found.beta1, richest.kappa.value, richest.kappa.covariance,
                     float(np.sqrt(np.mean(np.square(np.abs(drive))))))  # fmt: skip
    return min(binned, parted, key=lambda each: each.valid_to)


def _delay(sent: NDArray[np.complex128], received: NDArray[np.complex128]) -> float:
    """Samples by which a cyclic waveform arrives late: the peak of the circular correlation, then Newton on its square."""
    cross = np.fft.fft(received) * np.conj(np.fft.fft(sent))
    angular = 2.0 * np.pi * np.fft.fftfreq(len(sent))
    delay = float(np.argmax(np.abs(np.fft.ifft(cross))))
    for _ in range(20):
        terms = cross * np.exp(1j * angular * delay)
        total, first, second = terms.sum(), (1j * angular * terms).sum(), -(angular**2 * terms).sum()
        slope, bend = 2.0 * (first * total.conj()).real, 2.0 * (abs(first) ** 2 + (second * total.conj()).real)
        step = -slope / bend if bend < 0.0 else 0.25 * np.sign(slope)
        delay += float(np.clip(step, -0.25, 0.25))
        if abs(step) < 1e-9:
            break
    return delay


def _missed(found: Amplifier, regressors: NDArray[np.complex128], received: NDArray[np.complex128]) -> float:
    """Error over signal of data that was not fitted."""
    assert found.beta1 is not None
    expected = found.beta1 * (regressors[0] + found.kappa.value @ regressors[1:])
    return float(np.sum(np.square(np.abs(received - expected))) / np.sum(np.square(np.abs(received))))


def _choose(tried: Callable[[int], tuple[float, float]]) -> int:
    """The odd order after which the error on other data falls by less than 0.3 dB or the coefficient is within three deviations.

    tried: order -> error on data that was not fitted, highest coefficient over its standard deviation.
    """
    best, order = tried(1)[0], 1
    while order < HIGHEST:
        error, clear = tried(order + 2)
        if clear <= CLEAR or 10.0 * np.log10(best / error) <= GAIN_DB:
            break
        best, order = error, order + 2
    return max(order, 3)


def _clear(kappa: NDArray[np.complex128], covariance: NDArray[np.complex128]) -> float:
    """Highest coefficient over its standard deviation."""
    return float(abs(kappa[-1]) / np.sqrt(np.real(covariance[-1, -1]))) if len(kappa) else 0.0


def _limited(found: Amplifier, drive: NDArray[np.float64], gains: NDArray[np.complex128]) -> Amplifier:
    """With `valid_to`: the drive up to which binned gains (sample,) over beta1 lie within -30 dB of the model (two deviations allowed)."""
    edges = np.linspace(0.0, drive.max(), _BINS + 1)
    which = np.clip(np.digitize(drive, edges) - 1, 0, _BINS - 1)
    count = np.bincount(which, minlength=_BINS)
    weight = drive**2  # noise of a gain falls with the drive
    total = np.maximum(np.bincount(which, weight, _BINS), 1e-300)
    apart = gains - _gain(found.kappa.value, drive)
    mean = (np.bincount(which, weight * apart.real, _BINS) + 1j * np.bincount(which, weight * apart.imag, _BINS)) / total
    spread = np.sqrt(found.noise / total) / abs(found.beta1 or 1.0)
    centre = (edges[:-1] + edges[1:]) / 2.0
    rms = np.sqrt(np.mean(drive**2))
    # the error in the output over the output at rms drive, or at this drive where that is more
    off = np.maximum(np.abs(mean) - 2.0 * spread, 0.0) * np.minimum(centre / rms, 1.0)
    return _ending(found, edges[:-1], (count >= _BIN) & (off > 10.0 ** (MISFIT_DB / 20.0)), float(rms))


def _ending(found: Amplifier, drive: NDArray[np.float64], bad: NDArray[np.bool_], rms: float) -> Amplifier:
    """The model ends at the first drive (bin,) that is bad; where that lies in the bulk of the signal it is not to be used at all."""
    limit = float(drive[np.argmax(bad)]) if np.any(bad) else found.highest
    notes = found.kappa.assumptions + (("model misfit",) if limit < 0.999 * rms else ())
    above = found.kappa.above_threshold and limit >= 0.999 * rms
    return replace(found, valid_to=limit, kappa=replace(found.kappa, assumptions=notes, above_threshold=above))


def over_air(
    capture: Capture, frame: Frame, carrier: Carrier, sent: NDArray[np.complex128], *, scale: ArrayLike = 1.0, order: int | None = 3
) -> Amplifier:
    """kappa through an unknown channel, free on every tone and receive channel: Y = H (X + kappa D), the rest as in `coupler`.

    sent: (sample,) what the one active antenna sends in a turn of `frame`, sqrt(W), at the power the design will use. H given kappa and
    Gauss-Newton on kappa with Z = X + kappa D projected out alternate (variable projection, Golub and Pereyra 1973). Variance
    s2/sum |P_perp H D|^2. order: odd; None: chosen by the error in every other symbol, which was not fitted.
    Raises HilError for a clipped capture or fewer than eight symbols.
    """
    refuse_clipped(capture)
    numerology = frame.numerology
    heard = symbols_of(capture, numerology, carrier)
    if len(heard.index) < LEAST_SYMBOLS:
        raise HilError("capture-short", "too few symbols to tell distortion from the channel", where=capture.device,
                       found=f"{len(heard.index)} symbols", allowed=f"{LEAST_SYMBOLS} or more", fix="capture at least one whole frame")  # fmt: skip
    turn = heard.index % frame.layout.symbols
    # One turn and a symbol on either side, so that every window lies inside.
    step, symbols = numerology.symbol_samples, np.arange(frame.layout.symbols)
    received = heard.values * np.broadcast_to(np.asarray(scale, dtype=np.float64), (len(heard.values),))[:, None, None]

    def known(highest: int) -> NDArray[np.complex128]:
        waves = basis(sent, highest)
        around = np.concatenate([waves[:, -step:], waves, waves[:, :step]], axis=-1)
        return ofdm.demodulate(around, numerology, float(step), symbols)[0][:, turn]  # (order, symbol, tone)

    if order is None:
        order = _order_through(received, known(HIGHEST))
    found = _through(known(order), received)
    notes = ("memoryless", f"order {order}", "one channel per tone", "beta1 belongs to the channel", *assumptions_of(capture))
    told = Estimate(
        "amplifier kappa", f"device {frame.device} at {capture.device or 'receiver'}", found.kappa, found.covariance, "1/W",
        bound=found.covariance, epoch=None if capture.clock is None else capture.clock.after(carrier.centre_s), loss=capture.loss,
        assumptions=notes, above_threshold=carrier.above_threshold,
    )  # fmt: skip
    highest = float(np.max(np.abs(sent)))
    whole = Amplifier(told, None, float(found.noise.mean()), highest, highest)
    richest = _through(known(HIGHEST), received)
    turn = complex(np.vdot(found.channel, richest.channel) / np.vdot(found.channel, found.channel))  # gain and channel are shared differently
    return _parted(whole, turn, richest.kappa, richest.covariance, float(np.sqrt(np.mean(np.square(np.abs(sent))))))


@dataclass(frozen=True, slots=True, eq=False)
class _Through:
    """kappa (order,) with covariance, channel (receive channel, tone) for unit small-signal gain, noise (receive channel,) per tone."""

    kappa: NDArray[np.complex128]
    covariance: NDArray[np.complex128]
    channel: NDArray[np.complex128]
    noise: NDArray[np.float64]


def _through(known: NDArray[np.complex128], received: NDArray[np.complex128]) -> _Through:
    """Variable projection of received (receive channel, symbol, tone) on known (odd order, symbol, tone) through a channel per tone."""
    kappa = np.zeros(len(known) - 1, dtype=np.complex128)
    for _ in range(30):
        whole = known[0] + np.tensordot(kappa, known[1:], 1)
        energy = np.maximum(np.sum(np.square(np.abs(whole)), axis=0), 1e-300)
        channel = np.einsum("rmk,mk->rk", received, whole.conj()) / energy
        left = received - channel[:, None] * whole
        noise = np.sum(np.square(np.abs(left)), axis=(1, 2)) / (left[0].size - left.shape[-1] - len(kappa) / len(left))
        if not len(kappa):
            return _Through(kappa, np.zeros((0, 0), dtype=np.complex128), channel, noise)
        free = known[1:] - whole * (np.einsum("omk,mk->ok", known[1:], whole.conj()) / energy)[:, None]
        weight = np.einsum("rk,r->k", np.square(np.abs(channel)), 1.0 / noise)
        normal = np.einsum("omk,pmk,k->op", free.conj(), free, weight, optimize=True)
        pull = np.einsum("omk,rk,rmk,r->o", free.conj(), channel.conj(), left, 1.0 / noise, optimize=True)
        change = np.linalg.solve(normal, pull)
        kappa = kappa + change
        if np.max(np.abs(change)) < 1e-9 * max(np.max(np.abs(kappa)), 1e-12):
            break
    return _Through(kappa, np.linalg.inv(normal), channel, noise)


def _order_through(received: NDArray[np.complex128], known: NDArray[np.complex128]) -> int:
    """The order by the error of every other symbol; the channel is that of the fitted ones, whose noise is alike for every order."""
    def tried(order: int) -> tuple[float, float]:
        powers = known[: (order + 1) // 2]
        fitted = _through(powers[:, ::2], received[:, ::2])
        expected = fitted.channel[:, None] * (powers[0, 1::2] + np.tensordot(fitted.kappa, powers[1:, 1::2], 1))
        return float(np.sum(np.square(np.abs(received[:, 1::2] - expected)))), _clear(fitted.kappa, fitted.covariance)

    return _choose(tried)


def _parted(
    found: Amplifier, turn: complex, richer: NDArray[np.complex128], covariance: NDArray[np.complex128], rms: float
) -> Amplifier:
    """With `valid_to`: the drive up to which the model lies within -30 dB of the richest one that the same capture gives.

    turn: small-signal gain of the richer model over this one's; richer, covariance: its coefficients, two deviations of which are allowed.
    Seen through a band, let alone a channel that is free on every tone, single samples hide what these two curves show.
    """
    drive = np.linspace(0.0, found.highest, _BINS + 1)[1:]
    powers = drive[:, None] ** (2 * np.arange(1, len(richer) + 1))
    spread = np.sqrt(np.maximum(np.real(np.einsum("do,op,dp->d", powers, covariance, powers)), 0.0))
    apart = np.abs(turn * _gain(richer, drive) - _gain(found.kappa.value, drive))
    off = np.maximum(apart - 2.0 * spread, 0.0) * np.minimum(drive / rms, 1.0)
    return _ending(found, drive, off > 10.0 ** (MISFIT_DB / 20.0), rms)
