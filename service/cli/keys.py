"""The commands `keys add`, `keys list` and `keys remove`. Takes names and scopes, stores keys under a root."""

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.errors import UsageError
from workers.store.root import Root, existing

keys = typer.Typer(no_args_is_help=True, help="Manage API keys of the service.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(keys, name="keys")


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its user or purpose.")],
    root: RootOption,
    scope: Annotated[
        str, typer.Option(help="Scope: read, submit or admin. Each includes the ones before it.")
    ] = "read",
) -> None:
    """Create a key and print its secret, which is shown only once."""
    from service.http.keys import Keys, Scope

    if scope not in list(Scope):
        raise UsageError(f"unknown scope {scope!r}; use read, submit or admin")
    echo(Keys(Root(root)).add(name, Scope(scope)))


@keys.command("list")
def list_keys(root: RootOption, as_json: Json = False) -> None:
    """List the keys. Their secrets are not stored."""
    from service.cli.console import print_json, print_table
    from service.http.keys import Keys

    rows = [
        {name: value for name, value in asdict(key).items() if name != "digest"} for key in Keys(existing(root)).all()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {name: name for name in ("id", "name", "scope", "created")})


@keys.command("remove")
def remove_key(number: Annotated[str, typer.Argument(metavar="ID", help="Key id.")], root: RootOption) -> None:
    """Revoke a key."""
    from service.http.keys import Keys

    Keys(existing(root)).remove(number)
    echo(f"key {number} is removed")
