"""The flags that all commands over a corpus have. Takes a function of its own flags, gives a command of both and its spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import query
from service.cli.running import absolute, absolute_corpus, absolute_model, number, spec_of

if TYPE_CHECKING:
    from workers.spec.run import AnySpec

AHEAD = ("model", "corpus", "root", "run")  # in the help before a command's own; the others come after them

# What some commands share and others do not have.
Layers = Annotated[list[str] | None, typer.Option(help="Layer, glob or auto; may be repeated.")]
Images = Annotated[list[str] | None, typer.Option(help="Image id; may be repeated.")]
Sample = Annotated[int | None, typer.Option(help="Images to take if none are named.")]
Target = Annotated[str | None, typer.Option(help="label, predicted, or a class by name or number.")]
Classes = Annotated[str | None, typer.Option(help="File of class names, one per line.")]
Label = Annotated[str | None, typer.Option(help="folder or none.")]
Method = Annotated[str | None, typer.Option(help="deconvnet, guided_backprop or gradient.")]
Fill = Annotated[str | None, typer.Option(help="Shown in place of what is hidden: grey, mean or blur.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="PNG to draw the run to.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command over a corpus is told; what is not given is left to the spec."""

    model: Annotated[str | None, typer.Option(help=query.MODEL)] = None
    corpus: Annotated[str | None, typer.Option(help="Folder or glob of images, as a path or URL.")] = None
    root: Annotated[str | None, typer.Option(help="Folder or URL for the datasets.")] = None
    run: Annotated[str | None, typer.Option(help="Run id; made from model, corpus and time without it.")] = None
    actors: Annotated[str | None, typer.Option(help="Number of actors, or auto.")] = None
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None
    threads: Annotated[int | None, typer.Option(help="CPU threads of one actor.")] = None
    fewer: Annotated[bool | None, typer.Option("--fewer", help="Go on with fewer actors where there is no room.")] = (
        None
    )
    spec: Annotated[Path | None, typer.Option(help="TOML file of a run; flags win over its keys.")] = None
    as_json: Json = False

    def asked(self, kind: "type[AnySpec]", flags: Mapping[str, Any], base: dict[str, Any] | None = None) -> "AnySpec":
        """The spec of these flags, a command's own by the spec's tables, and the file.

        Raises:
            SpecError: the file cannot be read, or something is said that cannot be.
        """
        from workers.spec.run import merged

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
