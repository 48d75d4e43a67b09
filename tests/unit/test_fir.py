"""FIR files of the AD9361: what is read is what would be written, and rules of the part are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import firmware_configs
from hil import fir, profile, strict
from hil.errors import InputError

SHIPPED = Path(firmware_configs.__file__).parent / "fir" / "quarter-77.ftr"
SMALL = "# a comment\nTX 3 GAIN 0 INT 2\nRX 3 GAIN -6 DEC 2\nRTX 983040000 1 2 3\nBWTX 14000000\n" + "\n".join(f"{n},{-n}" for n in range(16))


def test_both_columns_and_both_headers() -> None:
    read = fir.parse(SMALL)
    assert read.transmit == tuple(range(16)) and read.receive == tuple(-n for n in range(16))
    assert (read.transmit_gain_db, read.receive_gain_db, read.interpolation, read.decimation) == (0, -6, 2, 2)
    assert read.read_back == "FIR Rx: 16,2 Tx: 16,2"
    assert fir.parse(read.text) == read


def test_one_column_serves_both() -> None:
    read = fir.parse(SMALL.replace(",", "\n#"))
    assert read.transmit == read.receive == tuple(range(16))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SMALL.replace("RX 3 GAIN -6 DEC 2\n", ""), "RX header is missing"), (SMALL.replace("DEC 2", "DEC 3"), "changes the rate by 3"),
        (SMALL.replace("DEC 2", "DEC 4"), "differ"), (SMALL + "\n1,1", "17 taps"), (SMALL.replace("15,-15", "99999,0"), "does not fit 16 bits"),
        (SMALL + "\nhello", "line 22"), ("", "missing"),
    ],
)  # fmt: skip
def test_what_the_part_would_not_take(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fir.parse(text)


def test_taps_per_sample() -> None:
    assert fir.most_taps(245.76e6, 15.36e6) == 128  # 16 times as fast would compute 256; the part has 128
    assert fir.most_taps(61.44e6, 15.36e6) == 64 and fir.most_taps(30.72e6, 30.72e6) == 16


def test_the_filter_that_comes_with_it_does_what_it_says() -> None:
    read = fir.parse(SHIPPED.read_text())
    grid = np.linspace(0.0, 2.0, 4001)  # of the sample rate; the filter runs four times as fast
    response = np.abs(np.exp(-2j * np.pi * np.outer(grid / 4, np.arange(128))) @ np.array(read.receive)) / 65536
    level = 20 * np.log10(response + 1e-12)
    assert np.abs(level[grid <= 0.385]).max() < 0.005 and level[grid >= 0.56].max() < -75.0


def test_a_profile_brings_its_filter_and_says_what_a_driver_sets() -> None:
    source = profile.find("ad9361-3g5", None)
    assert source is not None
    read = profile.radio_profile(source)
    assert read.fir == fir.parse(SHIPPED.read_text())
    assert read.fitting["fir"] == read.fir.text and read.fitting["ports"] == {"receive": "A_BALANCED", "transmit": "A"}
    assert read.fitting["tracking"] == {"quadrature": True, "rf_dc": True, "baseband_dc": True} and read.fitting["temperature_c"] == 85.0


def test_a_profile_whose_filter_cannot_be_used(tmp_path: Path) -> None:
    text = (Path(firmware_configs.__file__).parent / "ad9361-3g5.toml").read_text()
    (tmp_path / "fir").mkdir()
    (tmp_path / "fir" / "quarter-77.ftr").write_text(SMALL.replace("DEC 2", "DEC 3"))
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        profile.radio_profile(strict.parse(file))
    assert caught.value.id == "bad-filter" and caught.value.line == 6 and "changes the rate by 3" in caught.value.found


def test_a_fixed_number_of_channels_is_not_another(tmp_path: Path) -> None:
    text = (Path(firmware_configs.__file__).parent / "pluto-3g5.toml").read_text()
    file = tmp_path / "own.toml"
    file.write_text(text.replace('part = "pluto"', 'part = "pluto"\nchannels = 2'))
    with pytest.raises(InputError) as caught:
        profile.radio_profile(strict.parse(file))
    assert (caught.value.id, caught.value.found) == ("beyond-part", "2") and caught.value.key.endswith("channels")
