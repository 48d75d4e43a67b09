"""The bench as the loop sees it: devices by name, whichever node they hang on, all nodes asked at once, everything or nothing.

A `Link` speaks through a `Transport`: `hil.link.local` (workers in this process) or `hil.link.client` (ZeroMQ). After any failure every
transmitter is muted and every stage braked before the error is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil import device
from hil.clock import Instant
from hil.errors import HilError, InputError, LinkError
from hil.link import messages as m


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one node, and how long its answer may take."""

    node: str
    request: m.Request
    arrays: tuple[NDArray[Any], ...] = ()
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Silent:
    """A node that did not answer in time."""

    node: str
    address: str
    seconds: float


Outcome = tuple[m.Message, list[NDArray[Any]]] | HilError | Silent


_ANSWERS: dict[type, type] = {
    m.Hello: m.Described, m.Describe: m.Described, m.Configure: m.Configured, m.Prepare: m.Prepared, m.Apply: m.Applied,
    m.Capture: m.Captured, m.Move: m.Positioned, m.Where: m.Positioned, m.Home: m.Positioned, m.Status: m.State, m.Clear: m.State,
}  # fmt: skip


def _expected(call: Call, outcome: Outcome) -> Outcome:
    """The outcome, or an error in its place when a node answers something else than was asked."""
    if isinstance(outcome, tuple) and not isinstance(outcome[0], _ANSWERS.get(type(call.request), object)):
        asked, got = type(call.request).__name__.lower(), type(outcome[0]).__name__.lower()
        return LinkError("bad-message", f"not an answer to `{asked}`", where=f"node `{call.node}`", found=got)
    return outcome


class Transport(Protocol):
    """How requests reach nodes."""

    nodes: tuple[str, ...]

    def exchange(self, calls: Sequence[Call]) -> list[Outcome]:
        """Send all, wait for all (each until its own deadline); outcomes in order. Raises only what is nobody's answer."""

    def here(self, node: str, instant: Instant | None) -> Instant | None:
        """A reading of the node's clock as a reading of the controller's."""

    def progress(self) -> None:
        """The controller is alive and getting on (renews leases)."""

    def close(self) -> None: ...


class Link:
    """All devices of a bench. owners: device name -> node. timeout_s: longest wait for one answer, beside what a request takes itself."""

    def __init__(self, transport: Transport, owners: Mapping[str, str], *, timeout_s: float = 2.0) -> None:
        self._transport, self._owners, self._timeout_s = transport, dict(owners), timeout_s
        self._closed = False
        for name, node in self._owners.items():
            if node not in transport.nodes:
                raise InputError(
                    "no-such-node", f"device `{name}` hangs on node `{node}`, which is not there", found=", ".join(transport.nodes)
                )

    @property
    def nodes(self) -> tuple[str, ...]:
        return self._transport.nodes

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- scatter and gather ------------------------------------------------------------------------------------------------------------

    def _call(self, name: str, request: m.Request, extra_s: float = 0.0) -> Call:
        if name not in self._owners:
            raise InputError("no-such-device", f"no device `{name}`", allowed=", ".join(self._owners))
        return Call(self._owners[name], request, timeout_s=self._timeout_s + extra_s)

    def _everywhere(self, request: m.Request) -> list[Call]:
        return [Call(node, request, timeout_s=self._timeout_s) for node in self.nodes]

    def _ask(self, calls: Sequence[Call], what: str, remark: Callable[[], str] | None = None) -> list[tuple[Any, list[NDArray[Any]]]]:
        """All replies, or: everything muted and halted, then the first error raised. `remark` is added to a silence."""
        try:
            self._transport.progress()
            outcomes = self._transport.exchange(calls)
        except BaseException:  # Ctrl-C, a lost lease, or a bug in a driver
            self._stop_all(f"`{what}` was interrupted")
            raise
        outcomes = [_expected(call, outcome) for call, outcome in zip(calls, outcomes)]
        good = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        if len(good) == len(calls):
            return good
        unreached = self._stop_all(f"`{what}` failed")
        for outcome in outcomes:
            if isinstance(outcome, HilError):
                raise outcome
        silent = next(outcome for outcome in outcomes if isinstance(outcome, Silent))
        nodes = {call.node for call in calls}
        reached = len(nodes - {outcome.node for outcome in outcomes if isinstance(outcome, Silent)})
        muted = "all muted" + (f" ({', '.join(f'`{node}`' for node in unreached)} by its lease)" if unreached else "")
        facts = [f"reached {reached} of {len(nodes)} nodes", remark() if remark else "", muted]
        raise LinkError(
            "no-answer", f"silent for {silent.seconds:.1f} s in `{what.split(',')[0]}`{what[len(what.split(',')[0]):]}",
            where=f"node `{silent.node}` {silent.address}".rstrip(), note="; ".join(fact for fact in facts if fact),
            fix="on that machine `hil node node.toml -v`",
        )  # fmt: skip

    def _stop_all(self, why: str) -> list[str]:
        """Mute, then brake, everywhere; the nodes that did not say they had."""
        unreached = []
        for request in (m.Mute(why=why), m.Halt(why=why)):
            calls = [Call(node, request, timeout_s=min(self._timeout_s, 0.5)) for node in self.nodes]
            outcomes = self._transport.exchange(calls)
            unreached += [call.node for call, outcome in zip(calls, outcomes) if not isinstance(outcome, tuple)]
        return sorted(set(unreached))

    # -- what there is -------------------------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, m.Described]:
        """Node -> its devices, what they can do, its state."""
        return {call.node: reply for call, (reply, _) in self._paired(self._everywhere(m.Describe()), "describe")}

    def status(self) -> dict[str, m.State]:
        return {call.node: reply for call, (reply, _) in self._paired(self._everywhere(m.Status()), "status")}

    def _paired(self, calls: Sequence[Call], what: str) -> list[tuple[Call, tuple[Any, list[NDArray[Any]]]]]:
        return list(zip(calls, self._ask(calls, what)))

    # -- radios ------------------------------------------------------------------------------------------------------------------------

    def configure(self, name: str, setting: device.Setting) -> device.Setting:
        """Apply a setting to one radio; what it really became."""
        return self.configure_all({name: setting})[name]

    def configure_all(self, settings: Mapping[str, device.Setting]) -> dict[str, device.Setting]:
        """The same for several radios side by side."""
        calls = [self._call(name, m.Configure(device=name, setting=setting)) for name, setting in settings.items()]
        return {name: reply.setting for name, (reply, _) in zip(settings, self._ask(calls, "configure"))}

    def prepare(
        self, version: int, waveforms: Mapping[str, NDArray[np.complex64]], power_dbm: Mapping[str, Sequence[float]] | None = None
    ) -> dict[str, tuple[float, ...]]:
        """Check and load `version` everywhere; nothing changes on the air. Radios not named are silent in that version.

        waveforms: radio -> (transmit channel, sample), fractions of full scale. power_dbm: radio -> what the controller believes the
        average power per channel to be; a node that finds more refuses. Returns what the nodes found. A node that refuses, or is silent,
        means: applied nowhere, all muted, DeviceError or LinkError.
        """
        stated = {name: tuple(float(p) for p in powers) for name, powers in (power_dbm or {}).items()}
        calls = []
        for node in self.nodes:
            names = [name for name in waveforms if self._call(name, m.Status()).node == node]
            request = m.Prepare(
                version=version, radios={n: i for i, n in enumerate(names)}, power_dbm={n: stated[n] for n in names if n in stated}
            )
            arrays = tuple(np.ascontiguousarray(waveforms[name], dtype=np.complex64) for name in names)
            calls.append(Call(node, request, arrays, self._timeout_s))
        replies = self._ask(calls, f"prepare, version {version}", lambda: f"version {version} was applied nowhere")
        return {name: power for reply, _ in replies for name, power in reply.power_dbm.items()}

    def apply(self, version: int) -> None:
        """Put a prepared version on the air everywhere. If one node cannot, none does: all are muted."""
        self._ask(self._everywhere(m.Apply(version=version)), f"apply, version {version}", lambda: f"version {version} is in force nowhere")

    def capture(self, samples: Mapping[str, int], purpose: str = "", timeout_s: float = 5.0) -> dict[str, device.Capture]:
        """Radio -> its next samples, all radios side by side, each naming the version in force at its node."""
        calls = [
            self._call(name, m.Capture(device=name, samples=int(count), timeout_s=timeout_s, purpose=purpose), timeout_s)
            for name, count in samples.items()
        ]
        captures = {}
        for call, name, (reply, arrays) in zip(calls, samples, self._ask(calls, "capture")):
            if len(arrays) != 1:
                raise LinkError("bad-message", "a capture needs one array of samples", where=f"node `{call.node}`", found=str(len(arrays)))
            captures[name] = replace(reply.capture(arrays[0]), clock=self._transport.here(call.node, reply.clock))
        return captures

    # -- stages ------------------------------------------------------------------------------------------------------------------------

    def move(self, moves: Mapping[str, device.Move], timeout_s: float = 30.0) -> dict[str, device.Position]:
        """Stage -> where it arrived, all stages side by side. Envelopes are checked per stage before that stage moves."""
        calls = [self._call(name, m.Move(stage=name, move=move, timeout_s=timeout_s), timeout_s) for name, move in moves.items()]
        return self._positions(calls, moves, "move")

    def home(self, stages: Sequence[str], timeout_s: float = 120.0) -> dict[str, device.Position]:
        calls = [self._call(name, m.Home(stage=name, timeout_s=timeout_s), timeout_s) for name in stages]
        return self._positions(calls, stages, "home")

    def where(self, stages: Sequence[str]) -> dict[str, device.Position]:
        return self._positions([self._call(name, m.Where(stage=name)) for name in stages], stages, "where")

    def _positions(self, calls: Sequence[Call], names: Any, what: str) -> dict[str, device.Position]:
        replies = self._ask(calls, what)
        return {
            name: replace(reply.position, at=self._transport.here(call.node, reply.position.at))
            for call, name, (reply, _) in zip(calls, names, replies)
        }

    # -- safety --------------------------------------------------------------------------------------------------------------------------

    def mute(self, why: str = "") -> None:
        """Silence every transmitter; LinkError names the nodes that did not confirm (their leases do it for them)."""
        self._all_of_them(m.Mute(why=why), "mute")

    def halt(self, why: str = "") -> None:
        """Brake every stage; errors as for `mute`."""
        self._all_of_them(m.Halt(why=why), "halt")

    def stop(self, why: str = "") -> list[str]:
        """Mute, then brake, everywhere, at most half a second each; the nodes that did not say they had (their leases do it for them)."""
        return self._stop_all(why)

    def clear(self) -> None:
        """Leave the safe state at every node."""
        self._ask(self._everywhere(m.Clear()), "clear")

    def _all_of_them(self, request: m.Request, what: str) -> None:
        outcomes = self._transport.exchange(self._everywhere(request))
        bad = [outcome for outcome in outcomes if not isinstance(outcome, tuple)]
        silent = [outcome for outcome in bad if isinstance(outcome, Silent)]
        if silent:
            raise LinkError(
                "no-answer", f"silent for {silent[0].seconds:.1f} s in `{what}`",
                where=f"node `{silent[0].node}` {silent[0].address}".rstrip(),
                note=f"reached {len(outcomes) - len(silent)} of {len(outcomes)} nodes; the others do it by their leases",
                fix="on that machine `hil node node.toml -v`",
            )  # fmt: skip
        for error in bad:
            if isinstance(error, HilError):
                raise error

    def progress(self) -> None:
        """Call at least every few seconds of computing, so that leases go on. A no-op where there are none."""
        self._transport.progress()

    def close(self) -> None:
        """Mute, halt, let go of every node. Never fails, twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            self._stop_all("closing")
            self._transport.exchange([Call(node, m.Bye(), timeout_s=0.5) for node in self.nodes])
        except HilError:
            pass  # what could not be reached mutes by its lease
        finally:
            self._transport.close()
