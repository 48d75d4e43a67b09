"""The one command, `hil`: parses, calls, prints, exits. What a command does is in `hil.commands`; nothing heavy is imported up here.

Exit codes: 0 done; 1 the answer is no; 2 input; 3 the bench failed; 4 safe state; 70 a bug; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

import hil
from hil.commands.streams import Streams
from hil.errors import HilError, InputError
from hil.interrupts import INTERRUPTED, Interrupts

# Small matrices gain nothing from a second thread, two processes on two processors lose much, and sums in one order repeat to the bit.
# The libraries read these when they are loaded, which is later; whoever has set them is obeyed.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

BUG = 70
GROUPS = ("start", "run", "look", "design", "serve")


class Grouped(TyperGroup):
    """Help with the commands by what one wants to do."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for group in GROUPS:
            commands = [(name, one) for name, one in self.commands.items() if getattr(one, "rich_help_panel", None) == group]
            with formatter.section(group):
                formatter.write_dl([(name, one.get_short_help_str(100)) for name, one in commands])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(self.epilog, formatter)


class Exampled(TyperCommand):
    """Help that names arguments as the usage line does and ends with examples as they would be typed."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and param.param_type_name == "argument":
                sections["Arguments"].append((getattr(param, "metavar", None) or record[0], record[1]))
            elif record is not None:
                sections["Options"].append(record)
        for name, rows in sections.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(self.epilog, formatter)


def _write_examples(epilog: str | None, formatter: Any) -> None:
    with formatter.section("Examples"):
        for line in (epilog or "").splitlines():
            formatter.write(f"  {line}\n")


app = typer.Typer(
    cls=Grouped,
    name="hil",
    help="Closed-loop trials with movable antennas, on the emulator or over the air. Emulated unless you say --air.",
    epilog="hil new my-lab && hil run my-lab\nhil runs",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


class Depth(StrEnum):
    """How much of the real plumbing an emulated run exercises."""

    process = "process"
    nodes = "nodes"
    device = "device"


class ProfileAction(StrEnum):
    """What to do with profiles of radios."""

    show = "show"
    check = "check"
    apply = "apply"


class Color(StrEnum):
    """When to colour."""

    auto = "auto"
    always = "always"
    never = "never"


# -- completion: from names on disk, nothing heavy ----------------------------------------------------------------------------------------


def _run_names(incomplete: str) -> list[str]:
    folder = Path("runs")
    names = sorted((one.parent.name for one in folder.glob("*/run.json")), reverse=True) if folder.is_dir() else []
    return [name for name in ["last", *names] if name.startswith(incomplete)]


def _example_names(incomplete: str) -> list[str]:
    from hil.commands.bench import examples

    return [name for name in examples() if name.startswith(incomplete)]


def _designer_names(incomplete: str) -> list[str]:
    return [name for name in ("robust", "nominal") if name.startswith(incomplete)]


def _system_names(incomplete: str) -> list[str]:
    from hil.commands.listing import systems

    return [name for name in systems() if name.startswith(incomplete)]


Bench = Annotated[
    list[Path] | None, typer.Argument(metavar="BENCH", help="a folder, or its scenario.toml and testbed.toml", show_default=False)
]
RunName = Annotated[str, typer.Argument(metavar="[RUN]", help="name, unique part of one, path, last, last~1", autocompletion=_run_names)]
Example = Annotated[str, typer.Option("--from", metavar="EXAMPLE", help="bench to begin with", autocompletion=_example_names)]
Designer = Annotated[
    str | None, typer.Option(metavar="D", help="robust, nominal, or module:Class", show_default=False, autocompletion=_designer_names)
]
Designers = Annotated[
    str | None, typer.Option("--designer", metavar="D[,D]", help="one or more, as in --list", show_default=False, autocompletion=_designer_names)
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="of all randomness; not beside --seeds")]
Seeds = Annotated[int | None, typer.Option(metavar="N", min=1, help="seeds 0 to N-1", show_default=False)]
Jobs = Annotated[int | None, typer.Option(metavar="N", min=1, help="tasks at a time; by default one per processor or worker", show_default=False)]
Engine = Annotated[str, typer.Option(metavar="E", help="local, or dask://HOST:PORT")]
Plan = Annotated[bool, typer.Option("--plan", help="say what would be done, start nothing")]
ListThem = Annotated[bool, typer.Option("--list", help="list them, start nothing")]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="go on with an interrupted run", show_default=False, autocompletion=_run_names)
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="where results go")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="errors only")]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, show_default=False, help="states and settings; -vv wire traffic")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Colored = Annotated[Color, typer.Option("--color", help="auto: on a terminal, unless NO_COLOR")]

_streams = Streams()
_interrupts = Interrupts()  # takes the signals in `main`


def _speak(command: str, quiet: bool, verbose: int, json: bool, color: Color) -> Streams:
    global _streams
    _streams = Streams(command, quiet, verbose, json, str(color))
    return _streams


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hil {hil.__version__}")
        raise typer.Exit


@app.callback()
def _top(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it and leave")] = False) -> None:
    """Closed-loop trials with movable antennas, on the emulator or over the air. Emulated unless you say --air."""


@app.command(cls=Exampled, rich_help_panel="start", epilog="hil new my-lab\nhil new my-lab --from quickstart")
def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="folder to make")],
    example: Example = "quickstart",
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Start a bench from an example."""
    from hil.commands import bench

    bench.new(_speak("new", quiet, verbose, json, color), directory, example)


@app.command(cls=Exampled, rich_help_panel="start", epilog="hil check my-lab\nhil check my-lab/scenario.toml node.toml")
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="benches and files of any kind")],
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Read every file, all errors at once; cross-check a bench."""
    from hil.commands import bench

    bench.check(_speak("check", quiet, verbose, json, color), paths)


@app.command(cls=Exampled, rich_help_panel="start", epilog="hil doctor my-lab\nhil doctor desk --air --yes")
def doctor(
    bench: Bench = None,
    air: Annotated[bool, typer.Option("--air", help="the hardware at the testbed's addresses")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="with --air: also send test tones, within the limits")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of the emulated hardware")] = 1,
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Versions, reach, identity, profile, loopback, ports, noise, lines, throughput, clocks, disk; and what to do."""
    from hil.commands import doctor

    raise typer.Exit(doctor.doctor(_speak("doctor", quiet, verbose, json, color), tuple(bench or ()), air=air, seed=seed, yes=yes))


@app.command(cls=Exampled, rich_help_panel="run", epilog="hil run my-lab --seed 7\nhil run --resume last")
def run(
    bench: Bench = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", help="at most, baselines not counted", show_default=False)] = None,
    designer: Designer = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of all randomness")] = 1,
    depth: Annotated[Depth, typer.Option(help="emulated: one process, node processes, or drivers too")] = Depth.process,
    air: Annotated[bool, typer.Option("--air", help="the hardware: radiates and moves, asks first")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="describe only, open nothing")] = False,
    resume: Resume = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="skip the question that --air asks")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="longest wait for one answer", show_default=False)] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """The closed loop: explore, then rounds of sounding, design, motion, measurement."""
    from hil.commands import trial

    streams = _speak("run", quiet, verbose, json, color)
    if air and depth is not Depth.process:
        raise InputError("usage", "one of the two", key="--air --depth", fix="leave out --depth: over the air there is only one")
    asked = trial.Asked(
        paths=tuple(bench or ()), runs=runs, seed=seed, depth=str(depth), rounds=rounds, designer=designer, timeout=timeout, resume=resume,
        plan=plan, air=air, yes=yes,
    )  # fmt: skip
    raise typer.Exit(trial.run(streams, asked))


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil runs\nhil runs --runs /data/runs --json")
def runs(runs: Runs = Path("runs"), quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto) -> None:
    """List the runs there are."""
    from hil.commands import look

    look.runs(_speak("runs", quiet, verbose, json, color), runs)


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil watch\nhil watch last --json | jq .event")
def watch(
    run: RunName = "last",
    timeout: Annotated[float, typer.Option(metavar="S", min=0.1, help="longest wait for the next event")] = 600.0,
    runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Annotated[bool, typer.Option("--json", help="event lines, as they are")] = False,
    color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Follow a run while it goes on, or see again one that ended."""
    from hil.commands import watch
    from hil.records import resolve

    raise typer.Exit(watch.watch(_speak("watch", quiet, verbose, json, color), resolve(run, runs), timeout))


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil report\nhil report last~1 --out before.html")
def report(
    run: RunName = "last",
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="instead of RUN/report.html", show_default=False)] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Make a run's HTML report from its folder."""
    from hil.commands import look

    look.report(_speak("report", quiet, verbose, json, color), run, runs, out)


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil compare last~1 last\nhil compare k7qd p2xa 9b8z --json")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="runs; the first is what others are compared with")],
    runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Runs side by side: settings, numbers, agreement."""
    from hil.commands import compare

    compare.compare(_speak("compare", quiet, verbose, json, color), names, runs)


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil replay\nhil replay last~1 --json")
def replay(
    run: RunName = "last", runs: Runs = Path("runs"), quiet: Quiet = False, verbose: Verbose = 0, json: Json = False,
    color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Recompute every estimate from a run's captures and compare."""
    from hil.commands import replay

    raise typer.Exit(replay.replay(_speak("replay", quiet, verbose, json, color), run, runs))


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil verify\nhil verify runs/20260314-152033-quickstart-k7qd")
def verify(
    run: RunName = "last", runs: Runs = Path("runs"), quiet: Quiet = False, verbose: Verbose = 0, json: Json = False,
    color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Hashes and completeness of a run's folder."""
    from hil.commands import folders

    raise typer.Exit(folders.verify(_speak("verify", quiet, verbose, json, color), run, runs))


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil export last --out captures\nhil export k7qd --out captures --split")
def export(
    out: Annotated[Path, typer.Option(metavar="DIR", help="an empty folder, or a new one")],
    run: RunName = "last",
    split: Annotated[bool, typer.Option("--split", help="one channel per file, as many viewers want")] = False,
    runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Hand over a run's captures as SigMF, with its tables and events."""
    from hil.commands import folders

    folders.export(_speak("export", quiet, verbose, json, color), run, runs, out, split)


@app.command(cls=Exampled, rich_help_panel="look", epilog="hil sound my-lab\nhil sound my-lab --seed 7 --json")
def sound(
    bench: Bench = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of all randomness")] = 1,
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """The emulator measured by its sounder: truth, measured, error budget."""
    from hil.commands import sound

    raise typer.Exit(sound.sound(_speak("sound", quiet, verbose, json, color), tuple(bench or ()), seed))


@app.command(cls=Exampled, rich_help_panel="design", epilog="hil design my-lab\nhil design my-lab --designer robust,nominal --seeds 20")
def design(
    bench: Bench = None, designer: Designers = None, seed: Seed = 1, seeds: Seeds = None, jobs: Jobs = None, engine: Engine = "local",
    plan: Plan = False, list_: ListThem = False, resume: Resume = None, runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """One design per designer and seed, judged; nothing is pushed."""
    from hil.commands import design
    from hil.commands.study import Where

    streams = _speak("design", quiet, verbose, json, color)
    asked = design.Asked(tuple(bench or ()), _names(designer), _seeds(seed, seeds), Where(runs, engine, jobs, resume), plan, list_)
    raise typer.Exit(design.design(streams, asked))


@app.command(
    cls=Exampled, rich_help_panel="design",
    epilog="hil sweep my-lab --over design.confidence=0.5,0.9,0.99 --seeds 20\nhil sweep my-lab --over depth=process,device --designer robust",
)  # fmt: skip
def sweep(
    bench: Bench = None,
    over: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B,..", help="or KEY=LO:HI:N; several make a grid; depth is a key too", show_default=False)
    ] = None,
    designer: Designers = None, seed: Seed = 1, seeds: Seeds = None,
    depth: Annotated[Depth, typer.Option(help="of every trial")] = Depth.process,
    jobs: Jobs = None, engine: Engine = "local", plan: Plan = False, list_: ListThem = False, resume: Resume = None, runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """A trial for every combination of values, designers and seeds."""
    from hil.commands import sweep
    from hil.commands.study import Where

    streams = _speak("sweep", quiet, verbose, json, color)
    where = Where(runs, engine, jobs, resume)
    asked = sweep.Asked(tuple(bench or ()), tuple(over or ()), _names(designer), _seeds(seed, seeds), str(depth), where, plan, list_)
    raise typer.Exit(sweep.sweep(streams, asked))


@app.command(cls=Exampled, rich_help_panel="design", epilog="hil reproduce multicell 6 --seeds 20 --jobs 2\nhil reproduce --list")
def reproduce(
    system: Annotated[str | None, typer.Argument(metavar="SYSTEM", help="as multicell", show_default=False, autocompletion=_system_names)] = None,
    figure: Annotated[str | None, typer.Argument(metavar="FIG", help="the paper's number", show_default=False)] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="drops; by default as many as the figure wants", show_default=False)] = None,
    jobs: Jobs = None, engine: Engine = "local", plan: Plan = False, list_: ListThem = False, resume: Resume = None, runs: Runs = Path("runs"),
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """A figure of a paper, and which of its claims hold."""
    from hil.commands import reproduce
    from hil.commands.study import Where

    streams = _speak("reproduce", quiet, verbose, json, color)
    asked = reproduce.Asked(system, figure, seeds, Where(runs, engine, jobs, resume), plan, list_)
    raise typer.Exit(reproduce.reproduce(streams, asked))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.strip() for one in (text or "").split(",") if one.strip()))


def _seeds(seed: int, seeds: int | None) -> tuple[int, ...]:
    return (seed,) if seeds is None else tuple(range(seeds))


@app.command(cls=Exampled, rich_help_panel="serve", epilog="hil profile show my-lab\nhil profile check desk pluto-a --air")
def profile(
    action: Annotated[ProfileAction, typer.Argument(metavar="ACTION", help="show; check: compare; apply: set and compare")],
    bench: Annotated[Path, typer.Argument(metavar="BENCH", help="a folder")],
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="a radio; all without", show_default=False)] = None,
    air: Annotated[bool, typer.Option("--air", help="the hardware at the testbed's addresses")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of the emulated hardware")] = 1,
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """Profiles against radios; check and apply silence their transmitters."""
    from hil.commands import profile

    raise typer.Exit(profile.profile(_speak("profile", quiet, verbose, json, color), str(action), (bench,), device, air=air, seed=seed))


@app.command(cls=Exampled, rich_help_panel="serve", epilog="hil node node.toml\nhil node node.toml -v")
def node(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="node.toml")],
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """The daemon beside the hardware."""
    from hil.commands import serve

    raise typer.Exit(serve.node(_speak("node", quiet, verbose, json, color), file))


@app.command(cls=Exampled, rich_help_panel="serve", epilog="hil emulate my-lab\nhil emulate my-lab --port 0 --free-run")
def emulate(
    bench: Bench = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of all randomness")] = 1,
    host: Annotated[str, typer.Option(metavar="HOST", help="where to listen; the protocol has no authentication")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="of the first radio, the others follow; 0: any")] = 30431,
    free_run: Annotated[bool, typer.Option("--free-run", help="samples as fast as they are asked for, not in their own time")] = False,
    quiet: Quiet = False, verbose: Verbose = 0, json: Json = False, color: Colored = Color.auto,
) -> None:  # fmt: skip
    """The emulated hardware of a bench, on the network."""
    from hil.commands import emulate

    streams = _speak("emulate", quiet, verbose, json, color)
    raise typer.Exit(emulate.emulate(streams, tuple(bench or ()), seed=seed, host=host, port=port, free_run=free_run))


# -- around every command -----------------------------------------------------------------------------------------------------------------


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; prints errors, raises nothing but SystemExit's own."""
    global _streams
    _streams = _first_streams(arguments)
    usage_error = typer.BadParameter.__mro__[1]  # the parser's base of what is wrong with a command line
    try:
        code = typer.main.get_command(app).main(args=list(arguments), prog_name="hil", standalone_mode=False)
        return _by_signal(code if isinstance(code, int) else 0)
    except HilError as error:
        _streams.failed(error)
        return error.exit_code
    except usage_error as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return _by_signal(INTERRUPTED)
    except BrokenPipeError:
        return 0  # whoever read stdout has enough
    except Exception as error:
        return _bug(error)


def _by_signal(code: int) -> int:
    """An interruption by SIGTERM has its own code; what caught it on the way knows only that there was one."""
    return _interrupts.code if code == INTERRUPTED else code


def _first_streams(arguments: Sequence[str]) -> Streams:
    """How to speak before the command line is understood: an error in it must obey --json and --color too."""
    color = next((arguments[i + 1] for i, word in enumerate(arguments[:-1]) if word == "--color"), "auto")
    command = next((word for word in arguments if not word.startswith("-")), "")
    return Streams(command, quiet="-q" in arguments, json="--json" in arguments, color=color if color in list(Color) else "auto")


def _usage(error: Any) -> int:
    """A command line that cannot be understood, in two lines."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hil"
    text = error.format_message().replace("Value error, ", "")  # the parser's words for a value outside its choices
    _streams.failed(InputError("usage", text[:1].lower() + text[1:].rstrip("."), key=path, fix=f"see `{path} --help`"))
    return 2


def _bug(error: Exception) -> int:
    """Something nobody foresaw: the traceback goes to a file, and to the terminal only with -vv."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="hil-bug-", suffix=".txt", delete=False) as log:
        log.write(f"hil {hil.__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n{text}")
    if _streams.verbose > 1:
        print(text, file=sys.stderr)
    first = (str(error).splitlines() or [""])[0]
    bug = HilError("bug", f"{type(error).__name__}: {first}", note=f"the traceback is in {log.name}", fix="report it with that file")
    _streams.failed(bug)
    return BUG


def main() -> NoReturn:
    """Entry point."""
    _interrupts.install()
    sys.exit(call(sys.argv[1:]))


if __name__ == "__main__":
    main()
