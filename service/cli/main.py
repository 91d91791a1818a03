"""The command `deconvoy`. Takes command-line arguments, prints text or one JSON value; imports each job only when it runs."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from service.cli.light import import_pyarrow
from service.cli.terminal import accept_any_text, complain, discard_output, ignore_impossible_sizes
from workers.errors import DeconvoyError
from workers.host import ending, log, machine
from workers.host.exit_codes import CANCELLED
from workers.kinds import Kind

COMMANDS = (  # modules of this package that add commands, in the order of `--help`
    "demo",
    "layers",
    *Kind,
    "compare",
    "query",
    "sql",
    "register",
    "dataset_card",
    "report",
    "export",
    "serve",
    "submit",
    "status",
    "schedule",
    "keys",
    "label",
    "note",
    "default",
    "doctor",
    "verify",
    "retry_rejects",
    "rm",
    "gc",
    "train_demo",
)
DESCRIBED = (*Kind, "layers")  # commands whose flags are keys of specs


class OneLine(TyperGroup):
    """Commands whose expected errors are one line on standard error; any other error is a bug and has a traceback."""

    def make_context(self, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - typer's signature
        """Parse the arguments. Some are answered here, such as `--version`."""
        ignore_impossible_sizes()
        return self._report(partial(super().make_context, *words, **more), lambda: "")

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer does not export its context's class to override with
        """Run the requested command."""
        return self._report(partial(super().invoke, ctx), lambda: str(ctx.invoked_subcommand))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's signature
        """Find the requested command. Flags take their help from the keys of its spec."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name in DESCRIBED:
            from service.cli.flag_help import fill_help

            fill_help(command.params, str(name))
        return name, command, rest

    def _report(self, action: Callable[[], Any], command: Callable[[], str]) -> Any:  # noqa: ANN401 - typer's result
        """Run an action and report its expected errors on one line."""
        try:
            return action()
        except DeconvoyError as error:
            code, line = error.exit_code, str(error)
        except KeyboardInterrupt:
            code, line = CANCELLED, f"stopped{_resume_hint(command())}"
        except (OSError, MemoryError, RecursionError) as error:
            reason = machine.explain(error)
            if reason is None:
                raise
            code, line = 1, reason
            discard_output()
        ending.ignore()
        if log.form() is log.Form.JSON:
            log.Log().say(line, log.ERROR, exit_code=code)
        else:
            complain(" ".join(line.splitlines()))
        raise typer.Exit(code)


def _resume_hint(command: str) -> str:
    """How an interrupted command can be resumed, if it can: a run without actors stores nothing before it is published."""
    from workers.spec.kinds import SPECS
    from workers.spec.parts import NetworkSpec

    if command in ("submit", "status", "logs"):
        return "; a submitted run keeps running: deconvoy cancel stops it"
    resumes = command == "demo" or (command in SPECS and issubclass(SPECS[Kind(command)], NetworkSpec))
    return "; the same command resumes the run" if resumes else ""


def main() -> None:
    """Run the command. Others are not imported, if its word is that of its module."""
    accept_any_text()
    module = "".join(sys.argv[1:2]).replace("-", "_")
    if module == "query":
        import_pyarrow()
    with_commands_of([module] if module in COMMANDS else COMMANDS)(prog_name="deconvoy")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"deconvoy {version('deconvoy')}")
        raise typer.Exit


def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    log_format: Annotated[
        str, typer.Option(envvar=log.FORMAT, help="Format of log lines on standard error: text or json.")
    ] = "text",
) -> None:
    """See what every channel of a convolutional network looks for, over an image corpus of any size."""
    del show
    log.set_up(log_format)


def with_commands_of(modules: Iterable[str]) -> typer.Typer:
    """`deconvoy` with the commands that these modules add."""
    made = typer.Typer(cls=OneLine, no_args_is_help=True, pretty_exceptions_enable=False)
    made.callback()(_options)
    for module in modules:
        import_module(f"service.cli.{module}").add_to(made)
    return made


def __getattr__(name: str) -> typer.Typer:
    """`app` has all commands. It is made when it is first used, since that takes time."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made = with_commands_of(COMMANDS)
    return made
