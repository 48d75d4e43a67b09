"""What there is to study it with: testbed.toml, its profiles, and node.toml, as strict, typed, frozen values.

The table [emulated] is opaque here: it is handed to the emulator as plain values and nothing of the controller reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from hil import profile, quantities, strict
from hil.device import Capability
from hil.errors import InputError
from hil.profile import RadioProfile, StageProfile
from hil.strict import Source

Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]
Hertz = Annotated[float, Meta(gt=0, le=100e9)]
Band = tuple[Hertz, Hertz]
Millimetres = Annotated[float, Meta(ge=-1e5, le=1e5)]

_ADDRESS = r"^(local|tcp://[^\s:/*]+:\d{1,5})$"
_LISTEN = r"^tcp://[^\s:/*]+:\d{1,5}$"
_RIDE = r"^([+-][a-z][a-z0-9]*)?$"
strict.PATTERNS[r"^[a-z0-9-]{1,32}$"] = "a-z 0-9 -, at most 32 characters"
strict.PATTERNS[_ADDRESS] = "local, or tcp://HOST:PORT"
strict.PATTERNS[_LISTEN] = "tcp://HOST:PORT, a named interface, never *"
strict.PATTERNS[_RIDE] = '+AXIS, or -AXIS where the axis counts against local x, or "" for an element that stands still'


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the licence permits; a node's own limits may only be tighter."""

    band_hz: Annotated[Band, Meta(description="lower and upper edge of the licensed band")]
    eirp_dbm: Annotated[float, Meta(ge=-100, le=100, description="of each array, all elements in phase, antenna gain included")]
    duty: Annotated[float, Meta(gt=0, le=1, description="largest share of the time on the air")]


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine beside the hardware."""

    name: Annotated[Name, Meta(description="unique among nodes")]
    address: Annotated[str, Meta(pattern=_ADDRESS, description="local: started and stopped by hil itself")]
    key: Annotated[str, Meta(description="Z85 public key of the node")] | None = None


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A radio. The serial is its identity: another one is refused; uri is only where to look."""

    name: Annotated[Name, Meta(description="unique among radios and stages")]
    node: Annotated[str, Meta(description="the machine it hangs on")]
    profile: Annotated[str, Meta(description="profiles/NAME.toml of the bench, or one that came with hil")]
    uri: Annotated[str, Meta(description="usb:1.5.5, ip:10.0.0.9; needed with --air")] | None = None
    serial: Annotated[str, Meta(description="as the radio states it; needed with --air")] | None = None

    @property
    def identity(self) -> str:
        """The serial number; that of the emulated stand-in where the file gives none."""
        return self.serial or f"emulated-{self.name}"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A motion controller with its axes."""

    name: Annotated[Name, Meta(description="unique among radios and stages")]
    node: Annotated[str, Meta(description="the machine it hangs on")]
    profile: Annotated[str, Meta(description="profiles/NAME.toml of the bench, or one that came with hil")]
    port: Annotated[str, Meta(description="/dev/ttyUSB0, socket://HOST:PORT, rfc2217://HOST:PORT; needed with --air")] | None = None


class Shared(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Radios that cables join: what a controller may rely on between them."""

    radios: Annotated[tuple[str, ...], Meta(min_length=2, description="names of radios; each in one such table at most")]
    reference: Annotated[bool, Meta(description="one frequency reference: no carrier offset between them, phases that only drift")] = False
    trigger: Annotated[bool, Meta(description="one start trigger: what they send together begins at the same distance in time again")] = False


class Element(NamedTuple):
    """One antenna's wiring: local x = offset + sign * axis reading, metres; `axis` None for one that stands still at `offset`."""

    channel: int
    stage: str | None
    axis: str | None
    sign: int
    offset: float


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which element of an array (or a user) hangs on which channel and rides on which axis."""

    array: Annotated[str, Meta(description="an array of the scenario; either this or user")] | None = None
    user: Annotated[str, Meta(description="a user of the scenario; either this or array")] | None = None
    radio: Annotated[str, Meta(description="the radio it hangs on")]
    channels: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=63)], ...],
        Meta(min_length=1, description="one per element: transmit channels of a transmit array, else receive channels"),
    ]
    stage: Annotated[str, Meta(description="what moves it; left out for what stands still")] | None = None
    axes: Annotated[tuple[Annotated[str, Meta(pattern=_RIDE)], ...], Meta(description="one per element; an empty one stands still")] = ()
    offset_mm: Annotated[tuple[Millimetres, ...], Meta(description="one per moving element: its local x when the axis reads 0")] = ()
    position_mm: Annotated[tuple[Millimetres, ...], Meta(description="one per element that stands still: its local x")] = ()
    antenna_gain_dbi: Annotated[float, Meta(ge=-40, le=60, description="of each element")] = 0.0

    @property
    def of(self) -> str:
        """Name of the array or user."""
        return self.array or self.user or ""

    @property
    def moving(self) -> tuple[int, ...]:
        """Indices of the elements that ride on an axis."""
        return tuple(index for index, axis in enumerate(self.axes) if axis)

    @property
    def elements(self) -> tuple[Element, ...]:
        """The wiring of each element in order."""
        offsets, places = iter(self.offset_mm), iter(self.position_mm or (0.0,) * len(self.channels))
        rides = self.axes or ("",) * len(self.channels)
        return tuple(
            Element(channel, self.stage, ride[1:], 1 if ride[0] == "+" else -1, next(offsets) * 1e-3)
            if ride
            else Element(channel, None, None, 1, next(places) * 1e-3)
            for channel, ride in zip(self.channels, rides)
        )


class Testbed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of testbed.toml, with the profiles it names."""

    __test__ = False  # nothing for pytest to collect

    format: Annotated[Literal["hil.testbed.v1"], Meta(description="first line of the file")]
    calibrations: Annotated[str, Meta(description="folder of calibration records, with subfolders air/ and emulated/")] = "calibrations"
    limits: Licence
    node: Annotated[tuple[Node, ...], Meta(min_length=1)]
    radio: Annotated[tuple[Radio, ...], Meta(min_length=1)]
    stage: tuple[Stage, ...] = ()
    shared: tuple[Shared, ...] = ()
    wire: Annotated[tuple[Wire, ...], Meta(min_length=1)]
    emulated: Annotated[Mapping[str, Any], Meta(description="the truth behind the antennas; only the emulator reads it")] = {}
    source: Source | None = None
    folder: Path | None = None
    radio_profiles: Mapping[str, RadioProfile] = {}
    stage_profiles: Mapping[str, StageProfile] = {}

    def wire_of(self, name: str) -> Wire:
        """The wire of an array or user; KeyError for none."""
        return _named(self.wire, name)

    def radio_named(self, name: str) -> Radio:
        return _named(self.radio, name)

    def stage_named(self, name: str) -> Stage:
        return _named(self.stage, name)

    def share(self, radios: Iterable[str], what: Literal["reference", "trigger"]) -> bool:
        """Whether all of some radios hang on one reference, or start by one trigger; a radio always does with itself."""
        wanted = set(radios)
        return len(wanted) < 2 or any(getattr(one, what) and wanted <= set(one.radios) for one in self.shared)

    def radio_profile(self, radio: str) -> RadioProfile:
        """The profile of a radio, by the radio's name."""
        return self.radio_profiles[self.radio_named(radio).profile]

    def stage_profile(self, stage: str) -> StageProfile:
        """The profile of a stage, by the stage's name."""
        return self.stage_profiles[self.stage_named(stage).profile]

    def capability(self, radio: str) -> Capability:
        """What a radio can do within its profile."""
        return self.radio_profile(radio).capability(self.radio_named(radio).identity)

    def reach(self, wire: Wire) -> tuple[tuple[float, float], ...]:
        """Least and greatest local x of each element, metres, as its axis (or its fixed place) allows."""
        reaches = []
        for element in wire.elements:
            if element.axis is None or element.stage is None:
                reaches.append((element.offset, element.offset))
                continue
            low, high = sorted(element.offset + element.sign * end for end in self.stage_profile(element.stage).axis[element.axis].travel)
            reaches.append((low, high))
        return tuple(reaches)

    def carriage(self, wire: Wire) -> float:
        """Metres that neighbours on the rail keep because of what carries them; 0 for what stands still."""
        axes = [element for element in wire.elements if element.axis is not None and element.stage is not None]
        return max((self.stage_profile(str(e.stage)).axis[str(e.axis)].carriage for e in axes), default=0.0)

    @property
    def sources(self) -> dict[str, str]:
        """Text of every file this was read from, by its name in a run folder: testbed.toml, profiles/NAME.toml."""
        texts = {} if self.source is None else {"testbed.toml": self.source.as_used}
        profiles: dict[str, RadioProfile | StageProfile] = {**self.radio_profiles, **self.stage_profiles}
        for name, one in profiles.items():
            if one.source is not None:
                texts[f"profiles/{name}.toml"] = one.source.as_used
            if isinstance(one, RadioProfile) and one.fir is not None:
                texts[f"profiles/{one.filter.fir}"] = one.fir.text
        return texts

    def replace(self, changes: Mapping[str, Any]) -> Testbed:
        """A changed copy, checked again: `{"limits.eirp_dbm": 5.0, "emulated.oscillator": {"class": "ocxo"}}`."""
        return _resolved(strict.replaced(self, changes), self.folder)

    def plain(self) -> dict[str, Any]:
        """As dictionaries, lists and scalars, keys as in the file."""
        document = strict.plain(self)
        assert isinstance(document, dict)
        return document


Entry = TypeVar("Entry", Node, Radio, Stage, Wire)


def _named(entries: tuple[Entry, ...], name: str) -> Entry:
    for entry in entries:
        if (entry.of if isinstance(entry, Wire) else entry.name) == name:
            return entry
    raise KeyError(name)


class NodeLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node permits; no controller can raise it."""

    band_hz: Annotated[Band, Meta(description="lower and upper edge")]
    power_dbm: Annotated[float, Meta(ge=-100, le=60, description="of one channel at the antenna port, on average")]
    eirp_dbm: Annotated[float, Meta(ge=-100, le=100, description="of all channels of a radio in phase, antenna gain included")]
    duty: Annotated[float, Meta(gt=0, le=1, description="largest share of the time on the air")]
    temperature_c: Annotated[float, Meta(ge=-40, le=150, description="of a radio; above it the node mutes")]


class NodeKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Identities: files of mode 0600, folders of public keys."""

    own: Annotated[str, Meta(description="the node's secret")]
    control: Annotated[str, Meta(description="folder of those who may control")]
    observe: Annotated[str, Meta(description="folder of those who may look")]


class NodeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of node.toml: permissions of the machine beside the hardware; its keeper's file."""

    format: Annotated[Literal["hil.node.v1"], Meta(description="first line of the file")]
    name: Annotated[Name, Meta(description="as testbeds call it")]
    listen: Annotated[str, Meta(pattern=_LISTEN, description="where it answers; only loopback until there are keys")]
    keys: NodeKeys | None = None
    lease_ms: Annotated[float, Meta(ge=20, le=60000, description="longer silence while radiating or moving: mute, halt, state safe")]
    may_open: Annotated[tuple[str, ...], Meta(description="the only addresses a testbed may name here")]
    limits: NodeLimits
    source: Source | None = None

    @property
    def lease(self) -> float:
        """Seconds."""
        return self.lease_ms * 1e-3

    @property
    def loopback(self) -> bool:
        """Whether it listens on this machine only."""
        host = self.listen.removeprefix("tcp://").rsplit(":", 1)[0]
        return host in ("localhost", "[::1]") or host.startswith("127.")


def load(path: Path | str) -> Testbed:
    """Read testbed.toml (or the one in a bench folder) and its profiles; InputError, or InputErrors with every mistake in it."""
    path = Path(path)
    path = path / "testbed.toml" if path.is_dir() else path
    return _resolved(strict.parse(path), path.parent)


def parse(text: str, file: str = "testbed.toml", folder: Path | None = None) -> Testbed:
    """The same from text; `file` is what messages call it, `folder` where its own profiles lie."""
    return _resolved(strict.parse(file, text.encode()), folder)


def load_node(path: Path | str) -> NodeFile:
    """Read node.toml (or the one in a folder)."""
    path = Path(path)
    return _node(strict.parse(path / "node.toml" if path.is_dir() else path))


def parse_node(text: str, file: str = "node.toml") -> NodeFile:
    """The same from text; `file` is what messages call it."""
    return _node(strict.parse(file, text.encode()))


def _node(source: Source) -> NodeFile:
    node = strict.read(source, NodeFile)
    strict.raise_all(profile.ordered(source, node.limits.band_hz, "limits", "band_hz"))
    return node


def _resolved(source: Source, folder: Path | None) -> Testbed:
    """The document as a testbed, its references followed and its profiles read; all mistakes of all files together."""
    bare = strict.read(source, Testbed, {"folder": folder})
    errors: list[InputError] = []
    radios = _profiles(bare, "radio", profile.radio_profile, folder, errors)
    stages = _profiles(bare, "stage", profile.stage_profile, folder, errors)
    testbed = msgspec.structs.replace(bare, radio_profiles=radios, stage_profiles=stages)
    errors += check(testbed)
    strict.raise_all(errors)
    return testbed


def _profiles(bare: Testbed, table: str, read: Any, folder: Path | None, errors: list[InputError]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    assert bare.source is not None
    for index, device in enumerate(getattr(bare, table)):
        if device.profile in found:
            continue
        try:
            source = profile.find(device.profile, folder)
            if source is None:
                raise unknown(bare.source, "profile", device.profile, profile.names(folder), table, index, "profile")
            found[device.profile] = read(source)
        except InputError as error:
            errors += getattr(error, "errors", (error,))
    return found


def unknown(source: Source, what: str, name: str, known: list[str], *path: str | int) -> InputError:
    """A name that nothing bears."""
    fix = f"use one of these, or add the {what}"
    return source.error(
        "no-such-name", f"there is no {what} of this name", *path, found=f'"{name}"', allowed=", ".join(known) or "none yet", fix=fix
    )


def check(testbed: Testbed) -> list[InputError]:
    """What the types of single keys cannot say: names, references, lengths of lists, one axis per element."""
    source = testbed.source
    assert source is not None
    errors = profile.ordered(source, testbed.limits.band_hz, "limits", "band_hz")
    errors += _names(testbed, source)
    nodes = [node.name for node in testbed.node]
    for table in ("radio", "stage"):
        for index, device in enumerate(getattr(testbed, table)):
            if device.node not in nodes:
                errors.append(unknown(source, "node", device.node, nodes, table, index, "node"))
    errors += _shared(testbed, source)
    ridden: dict[tuple[str, str], int] = {}
    for index, wire in enumerate(testbed.wire):
        errors += _wire(testbed, wire, source, index)
        errors += _axes(testbed, wire, source, index, ridden)
    return errors


def _names(testbed: Testbed, source: Source) -> list[InputError]:
    errors = []
    for tables in (("node",), ("radio", "stage"), ("wire",)):
        seen: dict[str, int] = {}
        for table in tables:
            for index, entry in enumerate(getattr(testbed, table)):
                name = entry.of if isinstance(entry, Wire) else entry.name
                if name and name in seen:
                    what = "is wired twice" if table == "wire" else "this name is taken"
                    errors.append(source.error("duplicate-name", what, table, index, found=f'"{name}", first in line {seen[name]}'))
                seen.setdefault(name, source.line(table, index))
    return errors


def _shared(testbed: Testbed, source: Source) -> list[InputError]:
    """Groups of radios: names that exist, each once, and something that is shared."""
    errors = []
    known, taken = [radio.name for radio in testbed.radio], dict[str, int]()
    for index, group in enumerate(testbed.shared):
        if not (group.reference or group.trigger):
            fix = "reference = true, or trigger = true"
            errors.append(source.error("shares-nothing", "says of nothing that it is shared", "shared", index, fix=fix))
        for place, name in enumerate(group.radios):
            path = ("shared", index, "radios", place)
            if name not in known:
                errors.append(unknown(source, "radio", name, known, *path))
            elif name in taken:
                found = f'"{name}", first in line {taken[name]}'
                errors.append(source.error("duplicate-name", "this radio shares already", *path, found=found, fix="one table for all that share"))
            taken.setdefault(name, source.line(*path))
    return errors


def _wire(testbed: Testbed, wire: Wire, source: Source, index: int) -> list[InputError]:
    """One wire by itself: what it is of, what it hangs on, how long its lists are."""
    errors = []
    if (wire.array is None) == (wire.user is None):
        found = "both" if wire.array else "neither"
        errors.append(
            source.error(
                "wire-of-what", "a wire is of one array or of one user", "wire", index, found=found, fix='array = "..." or user = "..."'
            )
        )
    radios, stages = [radio.name for radio in testbed.radio], [stage.name for stage in testbed.stage]
    if wire.radio not in radios:
        errors.append(unknown(source, "radio", wire.radio, radios, "wire", index, "radio"))
    if wire.stage is not None and wire.stage not in stages:
        errors.append(unknown(source, "stage", wire.stage, stages, "wire", index, "stage"))
    if len(set(wire.channels)) < len(wire.channels):
        errors.append(
            source.error(
                "one-channel-twice", "two elements hang on one channel", "wire", index, "channels", found=quantities.toml(wire.channels)
            )
        )
    elements, moving = len(wire.channels), len(wire.moving)
    wanted = [("axes", len(wire.axes), elements if wire.stage else 0, "one per element of an array with a stage")]
    if wanted[0][1] == wanted[0][2]:
        wanted.append(("offset_mm", len(wire.offset_mm), moving, "one per element that moves"))
        if wire.array is not None or wire.position_mm:
            wanted.append(("position_mm", len(wire.position_mm), elements - moving, "one per element that stands still"))
    for key, have, need, why in wanted:
        if have != need:
            errors.append(
                source.error(
                    "wire-lengths", "this list has the wrong length", "wire", index, key, found=f"{have} entries", allowed=f"{need}, {why}"
                )
            )
    return errors


def _axes(testbed: Testbed, wire: Wire, source: Source, index: int, ridden: dict[tuple[str, str], int]) -> list[InputError]:
    """Axes that exist, each ridden once; `ridden` remembers which wire has taken which."""
    if wire.stage is None or wire.stage not in [stage.name for stage in testbed.stage]:
        return []
    known = testbed.stage_profiles.get(testbed.stage_named(wire.stage).profile)
    errors = []
    twice = False
    for place in wire.moving:
        axis = wire.axes[place][1:]
        if known is not None and axis not in known.axis:
            allowed = ", ".join(known.axis)
            errors.append(
                source.error(
                    "no-such-name",
                    f"stage `{wire.stage}` has no axis of this name",
                    "wire",
                    index,
                    "axes",
                    found=f'"{axis}"',
                    allowed=allowed,
                )
            )
        twice = twice or (wire.stage, axis) in ridden
        ridden.setdefault((wire.stage, axis), index)
    if twice:
        errors.append(
            source.error(
                "one-axis-twice",
                "two elements ride on one axis",
                "wire",
                index,
                "axes",
                found=f"{quantities.toml(wire.axes)} on stage `{wire.stage}`",
                fix="one axis per element, or leave one element fixed (position_mm)",
            )
        )
    return errors
