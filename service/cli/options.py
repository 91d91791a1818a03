"""The flags that all commands over a corpus have. Takes a function of its own flags, gives a command of both and its spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.running import absolute, absolute_corpus, absolute_model, number, spec_of
from service.control.addresses import from_environment
from workers.spec import families

if TYPE_CHECKING:
    from workers.spec.make import AnySpec

AHEAD = ("model", "corpus", "root", "run")  # in the help before a command's own; the others come after them

MODEL = f"Network: {families.forms()}, with ?weights=FILE or ?weights=ENUM."
RootOption = Annotated[str, typer.Option("--root", help="Folder or fsspec URL of the datasets.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; by default the newest run.")]
LayerOption = Annotated[str, typer.Option("--layer", help="Layer name.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Largest number of rows.")]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="DECONVOY_ADDRESS",
        default_factory=from_environment,
        show_default=False,
        help="URL of a Ray dashboard, such as http://head:8265; by default RAY_API_SERVER_ADDRESS or RAY_ADDRESS.",
    ),
]
AnyAddress = Annotated[
    str | None,
    typer.Option(
        "--address", envvar="DECONVOY_ADDRESS", help="URL of a Ray dashboard; by default only the root is read."
    ),
]
RunWord = Annotated[str, typer.Argument(help="Run id.")]
SpecFile = Annotated[Path, typer.Argument(help="Spec file (TOML) of the run.")]
JobOption = Annotated[
    str | None,
    typer.Option("--job", help="Kind of job: scan, occlude, invert, ...; by default detected from the file."),
]

# Flags that several commands share. One without a help text gets the description of its spec's key: see `flag_help`.
Layers = Annotated[list[str] | None, typer.Option()]
Images = Annotated[list[str] | None, typer.Option()]
Sample = Annotated[int | None, typer.Option()]
Target = Annotated[str | None, typer.Option()]
Classes = Annotated[str | None, typer.Option()]
Label = Annotated[str | None, typer.Option()]
Method = Annotated[str | None, typer.Option()]
Fill = Annotated[str | None, typer.Option()]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="PNG file to draw the run to.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command over a corpus is told; what is not given is left to the spec."""

    model: Annotated[str | None, typer.Option()] = None
    corpus: Annotated[str | None, typer.Option()] = None
    root: Annotated[str | None, typer.Option()] = None
    run: Annotated[str | None, typer.Option()] = None
    actors: Annotated[str | None, typer.Option()] = None
    device: Annotated[str | None, typer.Option()] = None
    threads: Annotated[int | None, typer.Option()] = None
    fewer: Annotated[bool | None, typer.Option("--fewer")] = None
    spec: Annotated[Path | None, typer.Option(help="Spec file (TOML); flags override its keys.")] = None
    as_json: Json = False

    def asked(self, kind: "type[AnySpec]", flags: Mapping[str, Any], base: dict[str, Any] | None = None) -> "AnySpec":
        """The spec of these flags, a command's own by the spec's tables, and the file.

        Raises:
            SpecError: the file cannot be read, or something is said that cannot be.
        """
        from workers.spec.make import merged

        resources = {"actors": number(self.actors), "fewer": self.fewer, "device": self.device, "threads": self.threads}
        told = {
            "run": self.run,
            "root": absolute(self.root),
            "model": {"source": absolute_model(self.model)},
            "corpus": {"source": absolute_corpus(self.corpus)},
            "resources": resources,
        }
        return spec_of(kind, self.spec, merged(told, dict(flags)), base)


def over_a_corpus(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose flags are `Common`'s and its own; its function takes the common ones as its first argument.

    A flag that the function has itself, to say something else of it, is not replaced.
    """
    own = list(signature(command).parameters.values())[1:]
    common = [
        Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in fields(Common)
        if each.name not in {parameter.name for parameter in own}
    ]
    ahead = [each for each in common if each.name in AHEAD]
    flags = [*ahead, *own, *(each for each in common if each not in ahead)]

    @wraps(command)
    def told(**given: Any) -> None:  # noqa: ANN401 - flags
        command(Common(**{each.name: given.pop(each.name) for each in common}), **given)

    told.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    told.__annotations__ = {each.name: each.annotation for each in flags}
    return told
