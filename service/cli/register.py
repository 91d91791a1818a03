"""The command `register`. Takes a root and the name of an Iceberg catalog, registers the published runs and prints its tables."""

from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.querying import show
from workers.errors import ExtraError, UsageError
from workers.host.retrying import reason
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(register)


def register(
    root: RootOption,
    catalog: Annotated[str, typer.Option(help="Name of an Iceberg catalog in pyiceberg's configuration.")] = "default",
    namespace: Annotated[
        str, typer.Option(help="Namespace of the tables, one per root; it is created if it does not exist.")
    ] = "deconvoy",
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property", help="Property of the catalog, KEY=VALUE, which overrides the configuration. Repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register the tables of all published runs in an Iceberg catalog. No data is copied.

    Run the command again after runs are published, relabelled or removed. Each table changes in one commit.
    """
    if find_spec("pyiceberg") is None:
        raise ExtraError("pyiceberg is not installed: pip install 'deconvoy[iceberg]'")
    try:
        from service.control import registering
    except ImportError:
        raise
    except Exception as error:  # importing pyiceberg reads its configuration
        raise UsageError(f"the configuration of pyiceberg cannot be read: {reason(error)}") from error

    target = registering.open_catalog(catalog, dict(map(_parse, properties or ())))
    registered = [asdict(table) for table in registering.register(existing(root), target, namespace)]
    show(registered, {key: key for key in registered[0]}, as_json=as_json)


def _parse(text: str) -> tuple[str, str]:
    """The key and the value of a property."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"--property {text!r} is not KEY=VALUE")
    return key, value
