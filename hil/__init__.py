"""Hardware-in-the-loop testbed controller for movable-antenna integrated sensing and communication.

`import hil` is light: every public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name -> the module it lives in and its name there ("" for the module itself).
_NAMES = {
    "Capture": ("hil.device", "Capture"),
    "Design": ("hil.knowledge", "Design"),
    "Estimate": ("hil.knowledge", "Estimate"),
    "InputError": ("hil.errors", "InputError"),
    "Move": ("hil.device", "Move"),
    "check": ("hil.files", "check"),
    "design": ("hil.bench", "design"),
    "estimate": ("hil.estimate", ""),
    "load": ("hil.bench", "load"),
    "open": ("hil.bench", "open"),
    "read": ("hil.records", "read"),
    "testing": ("hil.testing", ""),
}

__all__ = sorted(_NAMES)

if TYPE_CHECKING:
    from hil.bench import design as design
    from hil.bench import load as load
    from hil.bench import open as open
    from hil.device import Capture as Capture
    from hil.device import Move as Move
    from hil.errors import InputError as InputError
    from hil.files import check as check
    from hil.knowledge import Design as Design
    from hil.knowledge import Estimate as Estimate
    from hil.records import read as read


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'hil' has no attribute {name!r}")
    module, attribute = _NAMES[name]
    found = importlib.import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
