"""pyadi-iio, pylibiio and the C library beneath them: imported when first needed, with a remedy when they do not fit together."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from hil.device import DeviceError

FITTING = ((0, 24), (0, 26))  # C library, least and most
WITHOUT = "Emulated runs at depth process and nodes work without it"
GET_BINDINGS = "`pip install 'pyadi-iio==0.0.21' 'pylibiio>=0.25,<1'`"
GET_LIBRARY = "Debian/Ubuntu `apt install libiio0`, conda `conda install -c conda-forge libiio`; then `pip install 'pylibiio>=0.25,<1'`"


@dataclass(frozen=True, slots=True)
class Library:
    """The modules `adi` and `iio`, and the versions of all three layers."""

    adi: Any
    iio: Any
    versions: dict[str, str]


def load() -> Library:
    """Import them; DeviceError `no-libiio`, `no-pyadi` or `wrong-libiio` with the remedy."""
    for package, module in (("pylibiio", "iio"), ("pyadi-iio", "adi")):
        try:
            importlib.import_module(module)
        except (ImportError, AttributeError, OSError, TypeError) as error:
            raise _refusal(package, error) from error
    iio, adi = importlib.import_module("iio"), importlib.import_module("adi")
    found = tuple(iio.version[:2])
    if not FITTING[0] <= found <= FITTING[1]:
        raise DeviceError(
            "wrong-libiio", "this libiio (C library) does not fit pyadi-iio 0.0.21", where="this machine",
            found=f"{found[0]}.{found[1]}", allowed="0.24 ... 0.26", fix=f"{GET_LIBRARY}. {WITHOUT}",
        )  # fmt: skip
    return Library(adi, iio, versions())


def versions() -> dict[str, str]:
    """Of what is installed; the C library's only when it can be loaded."""
    found = {}
    for package in ("pyadi-iio", "pylibiio"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    try:
        found["libiio"] = ".".join(map(str, importlib.import_module("iio").version[:2]))
    except (ImportError, AttributeError, OSError, TypeError):
        found["libiio"] = "not found"
    return found


def _refusal(package: str, error: Exception) -> DeviceError:
    """What an import that failed means: the bindings are missing, are too new, or find no library (an AttributeError of all things)."""
    if isinstance(error, ModuleNotFoundError):
        return DeviceError("no-pyadi", f"the Python package {package} is missing", where="this machine", fix=f"{GET_BINDINGS}. {WITHOUT}")
    if "version 1.x required" in str(error):
        return DeviceError(
            "wrong-libiio", "pylibiio is made for libiio 1, the libiio here is older", where="this machine",
            found=f"pylibiio {versions()['pylibiio']}", allowed="0.25, below 1", fix=f"`pip install 'pylibiio>=0.25,<1'`. {WITHOUT}",
        )  # fmt: skip
    return DeviceError(
        "no-libiio", "libiio (C library, 0.24 ... 0.26) was not found", where="this machine", fix=f"{GET_LIBRARY}. {WITHOUT}"
    )
