"""The quickstart's files as text, to be changed one line at a time."""

from __future__ import annotations

from pathlib import Path

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
SCENARIO = (QUICKSTART / "scenario.toml").read_text()
TESTBED = (QUICKSTART / "testbed.toml").read_text()

# The files of the specification, so that messages can be compared with its line numbers.
SPEC_SCENARIO = """format = "hil.scenario.v1"
name   = "quickstart"
system = "maxmin"
signal = { carrier_hz = 3.5e9, sample_rate_hz = 15.36e6, used_bandwidth_hz = 11.52e6, modulation = "16qam", payload_symbols = 268 }
user   = [ { name = "u1", position_m = [14.0, 3.0, 1.5] } ]

rounds = { max = 8, stop_change_db = 0.1, move = "muted" }
[[array]]
name = "ap1"
role = "transmit"
origin_m = [0.0, 0.0, 2.0]
axis = [0.0, 1.0, 0.0]
elements = 4
travel_wavelengths = 8.0
min_spacing_wavelengths = 0.5
element_power_dbm = -20.0
[design]
designer = "robust"
baselines = ["fixed-rzf", "fixed", "sparse"]
confidence = 0.95
steps = 400
"""

DESK = """format = "hil.testbed.v1"
calibrations = "calibrations"
limits = { band_hz = [2.4e9, 2.4835e9], eirp_dbm = 10.0, duty = 0.10 }
node   = [ { name = "desk", address = "local" } ]
radio  = [
  { name = "pluto-a", node = "desk", profile = "pluto-2g45", uri = "usb:1.5.5", serial = "1044735411960009efff35003ef53c1" },
  { name = "pluto-b", node = "desk", profile = "pluto-2g45", uri = "usb:1.6.5", serial = "104473541196000618001900f2f97f0" } ]
stage  = [ { name = "rail", node = "desk", profile = "belt-rail-300", port = "/dev/ttyUSB0" } ]
[[wire]]
array = "tx"
radio = "pluto-a"
channels = [0]
stage = "rail"
axes = ["+x"]
offset_mm = [-150.0]
antenna_gain_dbi = 2.2
[[wire]]
user = "u1"
radio = "pluto-b"
channels = [0]
"""

PLUTO = """format = "hil.radio.v1"
part = "pluto"
firmware = ">=0.37"
range = { carrier_hz = [325e6, 3.8e9], sample_rate_hz = [2.084e6, 20.0e6] }
filter = { bandwidth_hz = 5.0e6 }
gain = { receive_mode = "manual", receive_db = 40.0, attenuation_db = 12.0 }
tracking = { quadrature = true, rf_dc = true, baseband_dc = true }
tolerance = { lo_hz = 5.0, sample_rate_hz = 1.0, gain_db = 0.5 }
"""

RAIL = """format = "hil.stage.v1"
controller = "grbl-1.1"
soft_limits = true
arrival = { tolerance_mm = 0.05, settle_ms = 150.0, approach = "+" }
[axis.x]
steps_per_mm = 80.0
travel_mm = [0.0, 300.0]
speed_mm_s = 100.0
acceleration_mm_s2 = 500.0
home = "-"
carriage_mm = 38.0
"""

DESK_SCENARIO = """format = "hil.scenario.v1"
name = "desk"
system = "maxmin"
signal = { carrier_hz = 2.45e9, sample_rate_hz = 3.84e6, used_bandwidth_hz = 2.7e6, modulation = "qpsk", payload_symbols = 268 }
user = [ { name = "u1", position_m = [3.0, 0.0, 1.0] } ]
rounds = { max = 8, stop_change_db = 0.1, move = "muted" }

[[array]]
name = "tx"
role = "transmit"
origin_m = [0.0, 0.0, 1.0]
axis = [0.0, 1.0, 0.0]
elements = 1
travel_wavelengths = 2.2
min_spacing_wavelengths = 0.5
element_power_dbm = 3.0
[design]
designer = "robust"
confidence = 0.95
steps = 400
"""

EAST = """format = "hil.node.v1"
name = "east"
listen = "tcp://127.0.0.1:5557"
lease_ms = 100.0
may_open = ["ip:10.0.0.21", "/dev/ttyUSB0"]
limits = { band_hz = [3.4e9, 3.6e9], power_dbm = 17.0, eirp_dbm = 40.0, duty = 0.10, temperature_c = 70.0 }
"""


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """The text with each first part replaced once by the second; a part that is not there is a mistake of the test."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def desk(folder: Path, scenario: str = DESK_SCENARIO, testbed: str = DESK, **profiles: str) -> Path:
    """A bench folder with its own profiles."""
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "scenario.toml").write_text(scenario)
    (folder / "testbed.toml").write_text(testbed)
    for name, text in {"pluto-2g45": PLUTO, "belt-rail-300": RAIL, **profiles}.items():
        (folder / "profiles" / f"{name}.toml").write_text(text)
    return folder
