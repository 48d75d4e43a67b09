"""One's own radio: a class with these methods, put through the suite that the built-in ones pass. No base class.

    python examples/own_radio.py

Here the "hardware" is a wire from transmitter to receiver in memory; replace what is marked HARDWARE.
"""

import numpy as np

import hil
from hil.clock import WallClock
from hil.device import Capability, DeviceError, Loss, Setting


class Wire:
    """One channel each way, 12 bit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.capability = Capability(
            part="wire", serial="wire-1", transmit_channels=1, receive_channels=1, carrier_hz=(100e6, 6e9), sample_rate_hz=(1e6, 20e6),
            receive_gain_db=(0.0, 60.0), receive_gain_step_db=1.0, attenuation_db=(0.0, 80.0), attenuation_step_db=0.25, bits=12,
            transmit_full_scale_dbm=7.0, receive_full_scale_dbm=-10.0,
        )  # fmt: skip
        self.setting = None
        self.version = None  # on the air now
        self._loaded = {}
        self._closed = False
        self._clock = WallClock()
        self._noise = np.random.default_rng(1)

    def configure(self, setting):
        """Apply everything or refuse; silent afterwards. What is returned is read back, not repeated."""
        self.mute()
        can = self.capability
        if self._closed:
            self.refuse("closed", "the radio was closed")
        for name, channels in (("carrier_hz", 0), ("sample_rate_hz", 0), ("receive_gain_db", 1), ("attenuation_db", 1)):
            low, high = getattr(can, name)
            values = np.atleast_1d(getattr(setting, name))
            if (channels and len(values) != channels) or not all(low <= value <= high for value in values):
                self.refuse("out-of-range", f"{name} cannot be set", found=str(getattr(setting, name)), allowed=f"{low:g} ... {high:g}")
        if setting.gain_mode != "manual":
            self.refuse("out-of-range", "no such gain mode", found=setting.gain_mode, allowed="manual")
        gain, attenuation = round(setting.receive_gain_db[0]), round(setting.attenuation_db[0] / 0.25) * 0.25
        # HARDWARE: write the four settings, then read them back
        self.setting = Setting(setting.carrier_hz, setting.sample_rate_hz, (float(gain),), (attenuation,))
        return self.setting

    def load(self, version, waveform):
        """Check the whole waveform and hold a copy; nothing is sent."""
        wave = np.array(waveform, dtype=np.complex64)
        if self.setting is None:
            self.refuse("not-configured", "no setting yet", fix="configure first")
        if wave.ndim != 2 or wave.shape[0] != 1 or wave.shape[1] < 1:
            self.refuse("wrong-shape", "waveform needs the axes (transmit channel, sample)", found=str(wave.shape))
        parts = np.abs(wave.view(np.float32))
        if not np.isfinite(parts).all() or parts.max() > 1.0:
            self.refuse("over-full-scale", "waveform would clip, or is not finite", allowed="at most 1 per part")
        self._loaded[version] = wave

    def apply(self, version):
        """Put a loaded waveform on the air, cyclically."""
        if version not in self._loaded:
            self.refuse("not-loaded", f"version {version} is not loaded", found=str(sorted(self._loaded)))
        # HARDWARE: destroy the old buffer, create the new one
        self.version = version

    def capture(self, samples, timeout_s):
        """The next samples; the buffers that were filled before the last change are dropped here, not by the caller."""
        if self.setting is None:
            self.refuse("not-configured", "no setting yet", fix="configure first")
        if samples < 1:
            self.refuse("out-of-range", "a capture needs at least one sample", found=str(samples))
        duration = samples / self.setting.sample_rate_hz
        if duration > timeout_s:
            self.refuse("timeout", "the capture cannot come in time", found=f"{duration:.3f} s", allowed=f"{timeout_s} s")
        began, version = self._clock.now(), self.version
        self._clock.sleep(duration)
        # HARDWARE: read the buffers. Here: our own transmission 12 dB down, from an arbitrary start, and noise
        sent = np.zeros(samples, np.complex64)
        if version is not None:
            wave = self._loaded[version][0]
            sent = wave[(self._noise.integers(wave.size) + np.arange(samples)) % wave.size]
        parts = np.ascontiguousarray(sent).view(np.float32) * 2048 / 4 + self._noise.normal(0.0, 2.0, 2 * samples)
        codes = np.clip(np.rint(parts), -2048, 2047).astype(np.float32)
        return hil.Capture(
            (codes / np.float32(2048)).view(np.complex64)[None], self.setting.sample_rate_hz, self.setting.carrier_hz,
            gain_db=self.setting.receive_gain_db, version=version, loss=Loss.UNKNOWN, clock=began, full_scale=2048,
            clipped=float(np.mean(np.abs(codes) >= 2047)), device=self.name,
        )  # fmt: skip

    def mute(self):
        """Never fails, never waits."""
        # HARDWARE: destroy the buffer, attenuator to its end
        self.version = None

    def supports(self, what):
        return False

    def close(self):
        self.mute()
        self.setting, self._closed = None, True

    def refuse(self, id, what, **facts):
        """After any error the transmitter is silent."""
        self.mute()
        raise DeviceError(id, what, where=self.name, **facts)


if __name__ == "__main__":
    hil.testing.radio_contract(lambda: Wire("mine"))
    print("Wire passes the contract of a radio")
