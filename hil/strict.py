"""TOML files read strictly: typed, frozen, and every mistake at once with its line and a remedy.

The types are msgspec structs; `Meta` on a field states its range and what it is. msgspec alone would stop at the first mistake and
knows no lines, so the document is first walked here: unknown keys and wrong units before types, types before ranges.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, NoReturn, TypeVar, cast

import msgspec
import msgspec.inspect as kinds

from hil import quantities
from hil.errors import InputError, InputErrors
from hil.toml_lines import Lines, Path

File = TypeVar("File", bound=msgspec.Struct)

#: Fields that hold where a value came from rather than something a file may say.
BESIDE = frozenset({"source", "radio_profiles", "stage_profiles", "folder"})


class Source:
    """The file a value was read from: as shown to the user, its text, its parsed document and its lines.

    Compares equal to anything: where a value was read does not make it another value.
    """

    def __init__(self, file: str, text: str, document: Mapping[str, Any]) -> None:
        self.file, self.text, self.document = file, text, document
        self.lines = Lines(text)

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"Source({self.file!r})"

    def line(self, *path: str | int) -> int:
        return self.lines.of(path)

    @property
    def as_used(self) -> str:
        """The text, or, where keys were changed after reading, the changed document as TOML: what a run folder keeps."""
        if tomllib.loads(self.text) == self.document:
            return self.text
        return "".join(f"{key} = {spelled(value)}\n" for key, value in self.document.items())

    def reference(self, *path: str | int) -> str:
        """For use inside another file's message: `testbed.toml:3 limits.band_hz`."""
        return f"{FilePath(self.file).name}:{self.line(*path)} {shown(path, self.document)}"

    def error(self, id: str, what: str, *path: str | int, **facts: str) -> InputError:
        """An error at a key of this file."""
        return InputError(id, what, file=self.file, line=self.line(*path), key=shown(path, self.document), **facts)


def shown(path: Path, document: Any) -> str:
    """A path as users write it: entries of a list of tables by their name, `array.ap1.elements`; others by index, `node[0]`."""
    text, here = "", document
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(part, str):
            text += f".{part}" if text else part
            continue
        name = entry_name(here)
        text += f".{name}" if name else f"[{part}]"
    return text


def entry_name(entry: Any) -> str:
    """What an entry of a list of tables goes by: its name; a wire by what hangs on it."""
    if isinstance(entry, Mapping):
        for key in ("name", "array", "user"):
            if isinstance(entry.get(key), str):
                return str(entry[key])
    return ""


def parse(path: FilePath | str, data: bytes | None = None, file: str = "") -> Source:
    """Read and parse a TOML file; `no-file`, `not-text` and `bad-toml` are the ways this fails."""
    file = file or str(path)
    if data is None:
        try:
            data = FilePath(path).read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError("no-file", f"cannot be read: {reason}", file=file, fix=f"see `ls {FilePath(path).parent}`") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("not-text", "is not UTF-8 text", file=file, found=f"byte {data[error.start]:#04x} at {error.start}") from error
    try:
        return Source(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        match = re.search(r"\(at line (\d+), column (\d+)\)", reason)
        line = int(match[1]) if match else text.count("\n") + 1
        what = re.sub(r"\s*\(at .*\)$", "", reason)
        raise InputError("bad-toml", "is not valid TOML", file=file, line=line, found=what[:1].lower() + what[1:]) from error


def read(source: Source, kind: type[File], beside: Mapping[str, Any] | None = None) -> File:
    """The document as a value of `kind`; InputError, or InputErrors holding all of them.

    beside: values for the fields that no file states, besides `source` itself.
    """
    errors: list[InputError] = []
    check_format(source, kind)
    _Walk(source, errors).table(source.document, cast(kinds.StructType, kinds.type_info(kind)), ())
    raise_all(errors)
    try:
        value = msgspec.convert(source.document, kind, strict=True)
    except msgspec.ValidationError as error:  # a rule of the type that the walk does not know
        raise InputError("wrong-type", str(error), file=source.file) from error
    for name, given in {"source": source, **(beside or {})}.items():
        msgspec.structs.force_setattr(value, name, given)
    return value


def check_format(source: Source, kind: type[msgspec.Struct]) -> None:
    """The first word: what kind of file this is. Nothing else is looked at when it is not the expected one."""
    wanted = format_of(kind)
    found = source.document.get("format")
    if found is None:
        raise InputError(
            "no-format", "does not say what kind of file it is", file=source.file, line=1, fix=f'format = "{wanted}" as the first line'
        )
    if found != wanted:
        raise source.error(
            "wrong-format", "another kind or version of file is wanted here", "format", found=quantities.toml(found), allowed=f'"{wanted}"'
        )


def format_of(kind: type[msgspec.Struct]) -> str:
    """The word a file of this kind begins with, as `hil.scenario.v1`."""
    literal = _names(cast(kinds.StructType, kinds.type_info(kind)))["format"].type
    while isinstance(literal, kinds.Metadata):
        literal = literal.type
    return str(cast(kinds.LiteralType, literal).values[0])


def raise_all(errors: list[InputError]) -> None:
    """Nothing for none, the error for one, all of them together in the order of their lines for several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputErrors(sorted(errors, key=lambda error: (error.file, error.line)))


def plain(value: Any) -> Any:
    """A frozen value as dictionaries, lists and scalars, without what no file states; None fields are left out."""
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__ if name not in BESIDE)
        return {name: plain(item) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def spelled(value: object) -> str:
    """A plain value as TOML on one line, every digit of a number kept."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {spelled(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(spelled(item) for item in value) + "]"
    return repr(value) if isinstance(value, float) else quantities.toml(value)


def replaced(value: File, changes: Mapping[str, Any]) -> Source:
    """The document of `value` with some keys changed, `{"rounds.max": 4, "array.ap1.elements": 3}`, to be read again.

    A path names an entry of a list of tables by its name, or means all of them where it does not: `array.element_power_dbm`.
    """
    source = cast(Source, getattr(value, "source"))  # noqa: B009 - the type variable only knows Struct
    document = plain(value)
    for path, new in changes.items():
        if not _set(document, path.split("."), new):
            table = cast(kinds.StructType, kinds.type_info(type(value)))
            _refuse_path(source, path, sorted(_names(table)))
    changed = Source.__new__(Source)
    changed.file, changed.text, changed.document, changed.lines = source.file, source.text, document, source.lines
    return changed


def _refuse_path(source: Source, path: str, allowed: list[str]) -> NoReturn:
    raise InputError("unknown-key", "no such key", file=source.file, key=path, note=f"allowed first: {', '.join(allowed)}")


def _set(here: Any, path: list[str], new: Any) -> bool:
    if isinstance(here, list):
        named = [entry for entry in here if entry_name(entry) == path[0]]
        if named and len(path) > 1:
            return _set(named[0], path[1:], new)
        return bool(here) and all([_set(entry, path, new) for entry in here])
    if not isinstance(here, dict):
        return False
    if len(path) == 1:
        here[path[0]] = new
        return True
    return path[0] in here and _set(here[path[0]], path[1:], new)


def _names(table: kinds.StructType) -> dict[str, kinds.Field]:
    return {field.encode_name: field for field in table.fields if field.encode_name not in BESIDE}


class _Walk:
    """One pass over a document beside its type, collecting what does not fit."""

    def __init__(self, source: Source, errors: list[InputError]) -> None:
        self.source, self.errors = source, errors

    def add(self, id: str, what: str, path: Path, **facts: str) -> None:
        self.errors.append(self.source.error(id, what, *path, **facts))

    # -- tables --------------------------------------------------------------------------------------------------------------------

    def table(self, value: Any, kind: kinds.StructType, path: Path) -> None:
        if not isinstance(value, Mapping):
            self.add("wrong-type", "must be a table", path, found=quantities.toml(value), allowed=f"{{ {', '.join(_names(kind))} }}")
            return
        fields = _names(kind)
        excused: set[str] = set()
        for key in value:
            if key not in fields:
                excused |= self.unknown(key, value[key], fields, path)
        for name, field in fields.items():
            if name in value:
                self.any(value[name], field.type, (*path, name))
            elif field.required and name not in excused:
                self.missing(name, field, path)

    def missing(self, name: str, field: kinds.Field, path: Path) -> None:
        line = self.source.line(*path)
        key = shown((*path, name), self.source.document)
        facts = {"allowed": text} if (text := allowed(field.type, name)) else {}
        about = description(field.type)
        fix = f"add {name} = ..." + (f"   ({about})" if about else "")
        self.errors.append(
            InputError("missing-key", "must be given, there is no default", file=self.source.file, line=line, key=key, fix=fix, **facts)
        )

    def unknown(self, key: str, value: Any, fields: Mapping[str, kinds.Field], path: Path) -> set[str]:
        """A key that is not there: perhaps one in another unit, perhaps misspelt. Returns the key it stands for."""
        stem, suffix = quantities.split(key)
        for name in fields:
            wanted_stem, wanted = quantities.split(name)
            if wanted and stem == wanted_stem:
                self.wrong_unit(key, value, suffix, name, path)
                return {name}
        near = difflib.get_close_matches(key, list(fields), n=1, cutoff=0.6)
        note = f"allowed here: {', '.join(sorted(fields))}" + (f"; did you mean `{near[0]}`?" if near else "")
        self.add("unknown-key", "no such key", (*path, key), note=note)
        return set(near)

    def wrong_unit(self, key: str, value: Any, given: str, name: str, path: Path) -> None:
        wanted = quantities.split(name)[1]
        if isinstance(value, str) and (read := quantities.parse(value)):
            value_in, given = read[0], read[1] or given
        else:
            value_in = value
        said = f"{name} = <number>"
        if isinstance(value_in, list) and all(_is_number(item) for item in value_in):
            items = [quantities.converted(item, given or wanted, wanted) for item in value_in]
            said = f"{name} = {quantities.toml(items)}" if None not in items else said
        elif _is_number(value_in):
            new = quantities.converted(value_in, given or wanted, wanted)
            said = f"{name} = {quantities.number(float(new))}" if new is not None else said
        words = quantities.UNITS[wanted].words
        self.add("wrong-unit", f"this quantity is given in {words}", (*path, key), found=f"{key} = {quantities.toml(value)}", fix=said)

    # -- values --------------------------------------------------------------------------------------------------------------------

    def any(self, value: Any, kind: kinds.Type, path: Path) -> None:
        match kind:
            case kinds.Metadata():
                self.any(value, kind.type, path)
            case kinds.UnionType():
                self.any(value, next(one for one in kind.types if not isinstance(one, kinds.NoneType)), path)
            case kinds.StructType():
                self.table(value, kind, path)
            case kinds.DictType():
                self.mapping(value, kind, path)
            case kinds.VarTupleType() | kinds.TupleType():
                self.sequence(value, kind, path)
            case kinds.FloatType() | kinds.IntType():
                self.number(value, kind, path)
            case kinds.StrType():
                self.text(value, kind, path)
            case kinds.BoolType():
                if not isinstance(value, bool):
                    self.add("wrong-type", "must be true or false", path, found=quantities.toml(value))
            case kinds.LiteralType():
                if value not in kind.values:
                    near = difflib.get_close_matches(str(value), [str(one) for one in kind.values], n=1)
                    note = f"did you mean `{near[0]}`?" if near else ""
                    self.add(
                        "not-allowed",
                        "is none of the words allowed here",
                        path,
                        found=quantities.toml(value),
                        allowed=choices(kind),
                        note=note,
                    )
            case kinds.AnyType():
                self.opaque(value, path)

    def mapping(self, value: Any, kind: kinds.DictType, path: Path) -> None:
        if not isinstance(value, Mapping):
            self.add("wrong-type", "must be a table", path, found=quantities.toml(value))
            return
        if kind.min_length and len(value) < kind.min_length:
            self.add("wrong-length", "has too few entries", path, found=str(len(value)), allowed=f"at least {kind.min_length}")
        for key, item in value.items():
            self.any(item, kind.value_type, (*path, key))

    def opaque(self, value: Any, path: Path) -> None:
        """Somebody else's business, except that no file may hold a number that is not finite."""
        if isinstance(value, float) and not math.isfinite(value):
            self.add("not-finite", "must be a finite number", path, found=str(value))
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            self.opaque(item, (*path, key))

    def sequence(self, value: Any, kind: kinds.VarTupleType | kinds.TupleType, path: Path) -> None:
        fixed = len(kind.item_types) if isinstance(kind, kinds.TupleType) else None
        if not isinstance(value, list):
            what = f"must be a list of {fixed} numbers" if fixed else "must be a list"
            self.add("wrong-type", what, path, found=quantities.toml(value))
            return
        if fixed is not None and len(value) != fixed:
            self.add("wrong-length", f"must have {fixed} entries", path, found=f"{len(value)} in {quantities.toml(value)}")
            return
        if isinstance(kind, kinds.VarTupleType):
            least = kind.min_length or 0
            if len(value) < least:
                self.add("wrong-length", "has too few entries", path, found=str(len(value)), allowed=f"at least {least}")
        for index, item in enumerate(value):
            one = kind.item_types[index] if isinstance(kind, kinds.TupleType) else kind.item_type
            self.any(item, one, (*path, index))

    def number(self, value: Any, kind: kinds.FloatType | kinds.IntType, path: Path) -> None:
        name = _key_of(path)
        whole = isinstance(kind, kinds.IntType)
        if isinstance(value, str) and quantities.parse(value) is not None and quantities.unit_of(name):
            self.wrong_unit(name, value, "", name, path[: path.index(name)])
            return
        if not _is_number(value) or (whole and not isinstance(value, int)):
            what = "must be a whole number" if whole else "must be a number"
            self.add("wrong-type", what, path, found=quantities.toml(value), allowed=allowed(kind, name))
            return
        if not math.isfinite(value):
            self.add("not-finite", "must be a finite number", path, found=str(value), allowed=allowed(kind, name))
            return
        below = (kind.ge is not None and value < kind.ge) or (kind.gt is not None and value <= kind.gt)
        above = (kind.le is not None and value > kind.le) or (kind.lt is not None and value >= kind.lt)
        if below or above:
            unit = quantities.unit_of(name)
            found = f"{quantities.number(value)} {unit.symbol}" if unit else quantities.number(value)
            self.add("out-of-range", "is too small" if below else "is too large", path, found=found, allowed=allowed(kind, name))

    def text(self, value: Any, kind: kinds.StrType, path: Path) -> None:
        if not isinstance(value, str):
            self.add("wrong-type", "must be text in quotes", path, found=quantities.toml(value))
        elif kind.pattern and not re.search(kind.pattern, value):
            self.add(
                "bad-text",
                "is not of the form wanted here",
                path,
                found=quantities.toml(value),
                allowed=PATTERNS.get(kind.pattern, kind.pattern),
            )


#: Patterns in words, filled by the modules that declare them.
PATTERNS: dict[str, str] = {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _key_of(path: Path) -> str:
    """The last key on a path: that of the list, for an item of one."""
    return next(str(part) for part in reversed(path) if isinstance(part, str))


def choices(kind: kinds.LiteralType) -> str:
    return " | ".join(str(one) for one in kind.values)


def description(kind: kinds.Type) -> str:
    """What a field's `Meta` says it is."""
    if isinstance(kind, kinds.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or description(kind.type)
    if isinstance(kind, kinds.UnionType):
        return next((text for one in kind.types if (text := description(one))), "")
    return ""


def allowed(kind: kinds.Type, key: str) -> str:
    """The range or the words a type allows, in the unit of its key: `-60 ... 40 dBm`."""
    unit = quantities.unit_of(key)
    symbol = f" {unit.symbol}" if unit else ""
    match kind:
        case kinds.Metadata():
            return allowed(kind.type, key)
        case kinds.UnionType():
            return allowed(next(one for one in kind.types if not isinstance(one, kinds.NoneType)), key)
        case kinds.LiteralType():
            return choices(kind)
        case kinds.BoolType():
            return "true | false"
        case kinds.FloatType() | kinds.IntType():
            low, high = kind.ge if kind.ge is not None else kind.gt, kind.le if kind.le is not None else kind.lt
            if low is not None and high is not None:
                if kind.gt is None and kind.lt is None:
                    return f"{_short(low)} ... {_short(high)}{symbol}"
                above, below = "from" if kind.gt is None else "more than", "up to" if kind.lt is None else "less than"
                return f"{above} {_short(low)}, {below} {_short(high)}{symbol}"
            if low is not None:
                return f"{'at least' if kind.ge is not None else 'more than'} {_short(low)}{symbol}"
            return f"at most {_short(high)}{symbol}" if high is not None else ""
        case kinds.VarTupleType():
            return allowed(kind.item_type, key)
        case kinds.TupleType():
            return allowed(kind.item_types[0], key)
        case kinds.StrType():
            return PATTERNS.get(kind.pattern or "", "")
    return ""


def _short(value: float | int) -> str:
    return f"{value:g}" if abs(value) < 1e5 else quantities.number(float(value))
