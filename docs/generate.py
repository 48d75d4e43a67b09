"""The reference pages, made from what they describe: `python -m docs.generate`, or `--check` to fail on a difference."""

from __future__ import annotations

import difflib
import io
import os
import sys
from pathlib import Path
from typing import Any

import msgspec.inspect as kinds

from docs import ids

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def files_page() -> str:
    """docs/files.md: every key of every file."""
    from hil import profile, quantities, scenario, testbed
    from hil.quantities import UNITS

    out = io.StringIO()
    print("# Files\n\n<!-- made by python -m docs.generate from the types in hil/ -->\n", file=out)
    print(
        "A bench is a folder with `scenario.toml` (what is studied) and `testbed.toml` (what there is to study it with), and where wanted\n"
        "`profiles/NAME.toml`, `nodes/NAME.toml` and `calibrations/`. The first key of each file is its format. Units are in the key, one\n"
        "unit per key; paths start at the file that holds them; files do not inherit and see no environment variables. A key without a\n"
        "default must be given. `hil check` reports every mistake at once, with its line.\n",
        file=out,
    )
    used = sorted({quantities.split(key)[1] for key in _all_keys()} - {""})
    print("| suffix | unit |\n|---|---|", file=out)
    for suffix in used:
        print(f"| `_{suffix}` | {UNITS[suffix].words} |", file=out)
    for title, kind, example in (
        ("scenario.toml", scenario.Scenario, "examples/quickstart/scenario.toml"),
        ("testbed.toml", testbed.Testbed, "examples/quickstart/testbed.toml"),
        ("node.toml", testbed.NodeFile, None),
        ("Radio profiles", profile.RadioProfile, "firmware_configs/pluto-3g5.toml"),
        ("Stage profiles", profile.StageProfile, "firmware_configs/belt-rail-4x700.toml"),
    ):
        print(f"\n## {title}\n", file=out)
        print(f"{_doc(kind)}\n" + (f"\nExample: [{example}](../{example}).\n" if example else ""), file=out)
        print("| key | value | default | what |\n|---|---|---|---|", file=out)
        _rows(kind, "", out)
    return out.getvalue()


def _all_keys() -> list[str]:
    from hil import profile, scenario, testbed

    out = io.StringIO()
    for kind in (scenario.Scenario, testbed.Testbed, testbed.NodeFile, profile.RadioProfile, profile.StageProfile):
        _rows(kind, "", out)
    return [line.split("`")[1].rpartition(".")[2] for line in out.getvalue().splitlines()]


def _doc(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _rows(kind: type, before: str, out: Any) -> None:
    """A row per key; tables follow the row that names them."""
    from hil import strict

    info = kinds.type_info(kind)
    assert isinstance(info, kinds.StructType)
    for field in info.fields:
        if field.encode_name in strict.BESIDE:
            continue
        inner, shape = _inner(field.type)
        key = f"{before}{field.encode_name}"
        default = "" if field.required else _default(field)
        what = strict.description(field.type)
        if isinstance(inner, kinds.StructType):
            path = f"{key}.NAME" if shape else key
            about = "; ".join(text for text in (_doc(inner.cls).rstrip("."), what) if text)
            print(f"| `{key}` | {shape or 'table'} | {default} | {about} |", file=out)
            _rows(inner.cls, f"{path}.", out)
        else:
            value = strict.allowed(field.type, field.encode_name).replace("|", "\\|") or _plain(inner)
            print(f"| `{key}` | {shape}{value} | {default} | {what} |", file=out)


def _inner(kind: kinds.Type) -> tuple[kinds.Type, str]:
    """The type at the bottom, and what it is wrapped in: list, table by name, several numbers."""
    match kind:
        case kinds.Metadata():
            return _inner(kind.type)
        case kinds.UnionType():
            return _inner(next(one for one in kind.types if not isinstance(one, kinds.NoneType)))
        case kinds.VarTupleType():
            inner, _ = _inner(kind.item_type)
            return inner, "list of tables" if isinstance(inner, kinds.StructType) else "list of "
        case kinds.TupleType():
            inner, _ = _inner(kind.item_types[0])
            return inner, f"{len(kind.item_types)} of "
        case kinds.DictType() if isinstance(kind.value_type, kinds.StructType):
            return kind.value_type, "tables by name"
    return kind, ""


def _plain(kind: kinds.Type) -> str:
    return {
        kinds.StrType: "text",
        kinds.BoolType: "true \\| false",
        kinds.DictType: "table",
        kinds.IntType: "count",
        kinds.FloatType: "number",
    }.get(type(kind), "")


def _default(field: kinds.Field) -> str:
    from hil.quantities import toml

    value = field.default if field.default is not kinds.NODEFAULT and field.default is not None else None
    if value is None or value == () or value == {}:
        return "none"
    return f"`{toml(value)}`"


def commands_page() -> str:
    """docs/commands.md: the help of every command."""
    os.environ["COLUMNS"] = "110"
    import typer

    from hil import cli

    group: Any = typer.main.get_command(cli.app)
    group.params = [param for param in group.params if param.name not in ("install_completion", "show_completion")]
    out = io.StringIO()
    print("# Commands\n\n<!-- made by python -m docs.generate from the command tree -->\n", file=out)
    print("Results go to stdout, all else to stderr. Without `--air` no command but `node` reaches hardware.\n", file=out)
    print("| exit code | meaning |\n|---|---|", file=out)
    for code, meaning in (
        (0, "done"),
        (1, "finished, and the answer is no: infeasible, a bar missed"),
        (2, "bad command line or input: nothing was started"),
        (3, "the bench failed (device, node, link, disk): the folder is readable, `--resume` works"),
        (4, "safe state: a limit or the lease"),
        (70, "a bug; the path of a log with the traceback is given"),
        (130, "Ctrl-C"),
        (143, "SIGTERM, or the terminal was closed"),
    ):
        print(f"| {code} | {meaning} |", file=out)
    context = group.make_context("hil", [], resilient_parsing=True)
    for name, command in [("hil", group), *((f"hil {name}", group.commands[name]) for name in group.commands)]:
        inner = context if name == "hil" else command.make_context(name, [], parent=None, resilient_parsing=True)
        inner.max_content_width = inner.terminal_width = 110
        print(f"\n## {name}\n\n```\n{command.get_help(inner)}\n```", file=out)
    return out.getvalue()


def errors_page() -> str:
    """docs/errors.md: every id that the source can raise, or warn with."""
    out = io.StringIO()
    print("# Errors\n\n<!-- made by python -m docs.generate from the source -->\n", file=out)
    print(
        "An error is two lines: `error[id] FILE:LINE KEY: what`, and below it what was found, what is allowed, what to do.\n"
        "Devices and runs take the place of FILE:LINE. Where a text depends on the case, the part that does is `...`.\n"
        "With `--json` the same is one object. Where no exit code is given it is a warning: `warning[id]`, and the run goes on.\n",
        file=out,
    )
    parents = ids.classes()
    print("| id | says | fix | exit | raised in |\n|---|---|---|---|---|", file=out)
    for name, one in ids.used().items():
        kinds = [kind for kind in one.kinds if kind != ids.WARNING]
        codes = sorted({70} if name == "bug" else {ids.EXIT.get(kind, ids.EXIT.get(parents.get(kind, ""), 3)) for kind in kinds})
        cells = ("<br>".join(one.says), "<br>".join(one.fixes), ", ".join(map(str, codes)), "<br>".join(f"`{file}`" for file in one.files))
        print(f"| `{name}` | " + " | ".join(_cell(cell) for cell in cells) + " |", file=out)
    return out.getvalue()


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def events_page() -> str:
    """docs/events.md: every event and field."""
    from hil.records import EVENTS, FIELDS_OF_ALL

    out = io.StringIO()
    print("# Events\n\n<!-- made by python -m docs.generate from hil/records/events.py -->\n", file=out)
    print(
        "`events.jsonl` of a run: one JSON object per line; no wall clock in it, so two runs of one seed at depth `process`\n"
        "compare equal with `cmp`. UTC and wall seconds of each line are in `timing.jsonl`.\n"
        "Within v1 fields may be added, never changed.\n",
        file=out,
    )
    print("Every event:\n", file=out)
    _fields(FIELDS_OF_ALL, out)
    for event, fields in EVENTS.items():
        print(f"\n## {event}\n", file=out)
        _fields(fields, out)
    return out.getvalue()


def _fields(fields: Any, out: Any) -> None:
    print("| field | unit | what |\n|---|---|---|", file=out)
    for name, (unit, what) in fields.items():
        print(f"| `{name}` | {unit} | {_cell(what)} |", file=out)


PAGES = {"files.md": files_page, "commands.md": commands_page, "errors.md": errors_page, "events.md": events_page}


def main(arguments: list[str]) -> int:
    different = 0
    for name, page in PAGES.items():
        path, wanted = HERE / name, page()
        there = path.read_text() if path.exists() else ""
        if "--check" not in arguments:
            path.write_text(wanted)
        elif there != wanted:
            different += 1
            lines = difflib.unified_diff(there.splitlines(), wanted.splitlines(), f"docs/{name}", "as it should be", lineterm="", n=0)
            print("\n".join(list(lines)[:20]), file=sys.stderr)
            print(f"docs/{name} is not what the source says; fix: make docs", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
