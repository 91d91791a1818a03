"""The command's own reading of words. Takes what stands after `deconvoy`, gives its parameters; runs nothing."""

from typing import Any

import typer.main

from service.cli.main import app


def parse(words: list[str]) -> dict[str, Any]:
    """The parameters of a command, checked as when it is run: unknown options and missing ones raise."""
    command, rest = typer.main.get_command(app), list(words)
    context = command.make_context(
        "deconvoy", rest, allow_extra_args=True, ignore_unknown_options=True, resilient_parsing=True
    )
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command.make_context(command.name, rest, parent=context).params
