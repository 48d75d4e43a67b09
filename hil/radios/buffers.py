"""Buffers towards a board's converters: one block of samples in, one cyclic waveform out, and what the cores' status says was lost.

What waits in a buffer is old. So a receive buffer lives only as long as nothing was changed and it was read just now; else the next block
is the first of a new one, whose first sample is later than the request. Blocks wait behind it all the same: with one kernel buffer alone the
converter would have nowhere to put the sample after the last, and its status would speak of an overflow after every capture.
"""

from __future__ import annotations

import errno
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.device import DeviceError, Loss
from hil.interrupts import held
from hil.radios.board import Board

STATUS, OVERFLOW, UNDERFLOW = 0x80000088, 4, 1  # of the AXI converter cores; bits stay set until they are written
PRESENT_S = 2e-3  # a host dates a block no better than this: a stream that was read so short a while ago still runs in the present
ROOM_S = 50e-3  # for which the blocks behind the one that is read hold samples: until then the status has been looked at
MOST_BUFFERS, MOST_BYTES = 64, 1 << 25
BYTES = 4  # of one sample of one channel, I and Q


class Receiver:
    """The receive buffer of a board; used by one thread at a time."""

    def __init__(self, board: Board, channels: int, bits: int) -> None:
        self._board, self._channels, self._device = board, channels, board.sdr._rxadc
        _require_layout(board, self._device, board.sdr._rx_channel_names, channels, False, bits)
        self._samples, self._changes, self._read_at, self._opened_at = 0, -1, 0.0, 0.0
        self.reports_loss = True
        self.reopened = False  # whether the latest block was the first of its buffer

    def fetch(self, samples: int, rate_hz: float, changes: int, timeout_s: float) -> memoryview:
        """The next whole block, bytes in libiio's own memory: for as long as the buffer lives and until the next one.

        changes: a count that differs from last time's when anything was changed since.
        """
        sdr = self._board.sdr
        now = time.monotonic()
        self.reopened = bool(
            not sdr._rxbuf or samples != self._samples or changes != self._changes or now - self._read_at > PRESENT_S
        )
        if self.reopened:
            self.drop()
            self._open(samples, rate_hz, timeout_s)
            self._changes = changes
        try:
            with self._board.speaking(f"deliver {samples} samples"):
                self._refill(sdr._rxbuf)
                block = self._board.memory(sdr._rxbuf)
        except BaseException:
            self.drop()
            raise
        self.touch()
        wanted = samples * self._channels * BYTES
        if len(block) != wanted:
            self.drop()
            raise DeviceError(
                "short-capture", "the radio delivered fewer samples than asked", where=self._board.where,
                found=str(len(block) // (self._channels * BYTES)), allowed=str(samples), fix="capture again; if it stays, `hil doctor BENCH`",
            )  # fmt: skip
        return block

    def _refill(self, buffer: Any) -> None:
        """Of a connection on which nothing came for as long as it may take, libiio says that it is broken."""
        asked = time.monotonic()
        try:
            buffer.refill()
        except BrokenPipeError as error:
            if time.monotonic() - asked < 0.9 * self._board.timeout_s:
                raise
            raise TimeoutError(errno.ETIMEDOUT, "no block came") from error

    @property
    def open_for(self) -> float:
        """Seconds since the buffer was opened, and so since its first sample was taken."""
        return time.monotonic() - self._opened_at

    def touch(self) -> None:
        """The block that was read is dealt with: from here on the stream waits."""
        self._read_at = time.monotonic()

    def _open(self, samples: int, rate_hz: float, timeout_s: float) -> None:
        board, sdr = self._board, self._board.sdr
        board.set_timeout(timeout_s)
        with held(), board.speaking(f"open a receive buffer of {samples} samples"):  # interrupted half-way it would belong to nobody
            self._device.set_kernel_buffers_count(_depth(samples, rate_hz, BYTES * self._channels))
            sdr.rx_buffer_size = samples
            sdr._rx_init_channels()
        self._opened_at = time.monotonic()
        self._samples = samples
        self.loss()  # what was lost before nobody asked for

    def loss(self) -> Loss:
        """Whether samples were lost since the last look; looking clears it."""
        if not self.reports_loss:
            return Loss.UNKNOWN
        found = looked(self._board, self._device, OVERFLOW)
        self.reports_loss = found is not None
        return Loss.UNKNOWN if found is None else Loss.SOME if found else Loss.NONE

    def drop(self) -> None:
        """Destroy the buffer. Never fails."""
        buffer, self._board.sdr._rxbuf = self._board.sdr._rxbuf, None
        if buffer:
            self._board.destroy(buffer)


class Sender:
    """The transmit buffer of a board. A transmission lives as long as its buffer, and a buffer no longer than its connection."""

    def __init__(self, board: Board, channels: int, bits: int) -> None:
        self._board, self._channels, self._device = board, channels, board.sdr._txdac
        _require_layout(board, self._device, board.sdr._tx_channel_names, channels, True, 16)

    def silence_tones(self) -> None:
        """No tone generator is heard when no buffer feeds the converters."""
        with self._board.speaking("silence its tone generators"):
            self._board.sdr.disable_dds()

    def start(self, words: NDArray[np.int16]) -> None:
        """Send words over and over; what was sent before ends first."""
        self.stop()
        sdr = self._board.sdr
        with held(), self._board.speaking("open a transmit buffer"):
            sdr.tx_cyclic_buffer = True
            sdr._tx_buffer_size = len(words) // (2 * self._channels)
            sdr._tx_init_channels()
            looked(self._board, self._device, UNDERFLOW)
            sdr._tx_buffer_push(words)

    def starved(self) -> bool:
        """Whether the converters ran out of samples since the last look."""
        return bool(looked(self._board, self._device, UNDERFLOW))

    def stop(self) -> None:
        """Destroy the buffer."""
        buffer, self._board.sdr._txbuf = self._board.sdr._txbuf, None
        if buffer:
            self._board.destroy(buffer)


def _depth(samples: int, rate_hz: float, sample_bytes: int) -> int:
    """Kernel buffers of a block's size: room for a while behind the first, as far as memory goes."""
    wanted = min(MOST_BUFFERS, 2 + math.ceil(ROOM_S * rate_hz / samples))
    return max(2, min(wanted, MOST_BYTES // (samples * sample_bytes)))


def looked(board: Board, device: Any, bit: int) -> bool | None:
    """Whether a status bit stands, clearing it; None where the core has no such register."""
    try:
        found = board.register(device, STATUS) & bit
        if found:
            board.write_register(device, STATUS, found)
    except DeviceError as error:
        if error.id != "refused":
            raise
        return None
    return bool(found)


def _require_layout(board: Board, device: Any, names: list[str], channels: int, output: bool, bits: int) -> None:
    """The samples lie as this driver reads and writes them: whole I and Q pairs of 16 bit words in the channels' order."""
    way = "transmit" if output else "receive"
    if len(names) != 2 * channels:
        raise DeviceError(
            "wrong-part", f"the radio has another number of {way} channels", where=board.where, found=str(len(names) // 2),
            allowed=f"{channels} (profile, channels)", fix="another profile, or another build of its firmware",
        )  # fmt: skip
    found = [device.find_channel(name, output) for name in names]
    if None in found:
        missing = ", ".join(name for name, one in zip(names, found) if one is None)
        raise DeviceError("wrong-part", f"the radio has no {way} channel of this name", where=board.where, found=missing)
    formats = [one.data_format for one in found]
    places = [one.index for one in found]
    strange = any(  # libiio divides by lengths and repetitions
        one.length != 16 or not one.is_signed or one.is_be or one.shift or one.bits not in (bits, 16) or one.repeat != 1 for one in formats
    )
    if strange or places != sorted(set(places)):
        shown = ", ".join(f"{'s' if one.is_signed else 'u'}{one.bits}/{one.length}>>{one.shift}" for one in formats[:2])
        raise DeviceError("wrong-part", f"{way} samples are in a form this driver does not know", where=board.where, found=shown,
                          allowed=f"signed, little-endian, {bits} of 16 bits")  # fmt: skip
