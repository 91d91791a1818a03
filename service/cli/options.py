"""Flags that commands share. Takes a function with its own flags, gives a command that also has the common ones, and its spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import trusted
from service.cli.running import absolute, absolute_corpus, absolute_model, parse_number, spec_values
from service.control.addresses import from_environment
from workers.spec import families

if TYPE_CHECKING:
    from workers.spec.make import AnySpec

# In `--help`, some common flags come before a command's own flags, and some at the end.
FIRST = ("model", "corpus", "root", "run")
LAST = ("spec", "trust_code", "dry_run", "as_json")

MODEL = f"Network: {families.forms()}, with ?weights=FILE or ?weights=SET."
TRUST = "Run the code that the model names: FILE.py:CALLABLE, package.module:CALLABLE or FILE.pt2."
RootOption = Annotated[str, typer.Option("--root", help="Folder or fsspec URL of the datasets.")]
RunOption = Annotated[
    str | None,
    typer.Option("--run", help="Run id; by default the newest scan, or the one that `deconvoy default` has set."),
]
AnyRunOption = Annotated[str | None, typer.Option("--run", help="Run id; by default the newest run over a corpus.")]
SheetRunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Run id. By default, with --layer: the newest scan, or the one that `deconvoy default` has set; without --layer: "
        "the newest run, if all runs are of one kind.",
    ),
]
LayerOption = Annotated[str, typer.Option("--layer", help="Layer name.")]
AnyLayerOption = Annotated[str | None, typer.Option("--layer", help="Only channels of this layer.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Maximum number of rows.")]
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
        "--address", envvar="DECONVOY_ADDRESS", help="URL of a Ray dashboard; by default only the root is used."
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
Label = Annotated[str | None, typer.Option()]
Method = Annotated[str | None, typer.Option()]
Fill = Annotated[str | None, typer.Option()]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="PNG file for a figure of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


DRY_RUN = (
    "Print the plan, and write nothing under the root. A scan also processes a few images to estimate size and time."
)
SPEC = "Spec file (TOML); flags override its keys."


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """The flags of every command that takes a network; the spec and the weights fill in those that are not given."""

    resize: Annotated[str | None, typer.Option()] = None
    fit: Annotated[str | None, typer.Option()] = None
    pad: Annotated[str | None, typer.Option()] = None
    crop: Annotated[str | None, typer.Option()] = None
    mean: Annotated[str | None, typer.Option()] = None
    std: Annotated[str | None, typer.Option()] = None
    bits: Annotated[int | None, typer.Option()] = None
    interpolation: Annotated[str | None, typer.Option()] = None
    classes: Annotated[str | None, typer.Option()] = None
    num_classes: Annotated[int | None, typer.Option()] = None

    def model_values(self) -> dict[str, Any]:
        """The keys of the table `model`; None for those that are not given."""
        values = {field.name: getattr(self, field.name) for field in fields(ModelFlags)}
        values |= {name: _split(values[name]) for name in ("resize", "crop")}
        values |= {name: values[name] and values[name].split(",") for name in ("mean", "std")}
        return {**values, "classes": absolute(self.classes)}


def _split(size: str | None) -> str | list[str] | None:
    """A side, or height and width."""
    return size.split(",") if size and "," in size else size


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """The flags of every command with actors; the spec fills in those that are not given."""

    root: Annotated[str | None, typer.Option()] = None
    run: Annotated[str | None, typer.Option()] = None
    actors: Annotated[str | None, typer.Option()] = None
    device: Annotated[str | None, typer.Option()] = None
    threads: Annotated[int | None, typer.Option()] = None
    fewer: Annotated[bool | None, typer.Option("--fewer")] = None
    spec: Annotated[Path | None, typer.Option(help=SPEC)] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False
    as_json: Json = False

    def values(self) -> dict[str, Any]:
        """The keys of the spec; None for those that are not given."""
        return {
            "run": self.run,
            "root": absolute(self.root),
            "resources": {
                "actors": parse_number(self.actors),
                "fewer": self.fewer,
                "device": self.device,
                "threads": self.threads,
            },
        }


@dataclass(frozen=True, kw_only=True)
class NetworkFlags(RunFlags, ModelFlags):
    """The flags of every command whose actors run one network; the spec fills in those that are not given."""

    model: Annotated[str | None, typer.Option()] = None
    trust_code: Annotated[bool | None, typer.Option("--trust-code", help=TRUST)] = False  # None: code is never run

    def values(self) -> dict[str, Any]:
        """The keys of the spec; None for those that are not given."""
        return {**super().values(), "model": {"source": absolute_model(self.model), **self.model_values()}}

    def build_spec(
        self, kind: "type[AnySpec]", flags: Mapping[str, Any], base: dict[str, Any] | None = None
    ) -> "AnySpec":
        """The spec that these flags, the command's own flags and the spec file make.

        Args:
            kind: class of the spec.
            flags: the command's own flags, by the tables of the spec.
            base: values that the flags and the file override.

        Raises:
            SpecError: the file cannot be read, or a value is not valid.
            UsageError: the model is code, and --trust-code was not given.
        """
        from workers.spec.make import merged

        own = {**flags, **({"corpus": _absolute_keys(flags["corpus"])} if "corpus" in flags else {})}
        values = spec_values(self.spec, merged(self.values(), own), base)
        return trusted.build_spec(kind, values, trust=self.trust_code)


@dataclass(frozen=True, kw_only=True)
class Common(NetworkFlags):
    """The flags of every command over a corpus; the spec fills in those that are not given."""

    corpus: Annotated[str | None, typer.Option()] = None
    readers: Annotated[str | None, typer.Option()] = None
    depth: Annotated[str | None, typer.Option()] = None
    bands: Annotated[str | None, typer.Option()] = None
    colour: Annotated[str | None, typer.Option()] = None
    jpeg: Annotated[str | None, typer.Option()] = None
    label_names: Annotated[str | None, typer.Option()] = None
    image_column: Annotated[str | None, typer.Option()] = None
    id_column: Annotated[str | None, typer.Option()] = None
    within: Annotated[str | None, typer.Option()] = None
    every: Annotated[int | None, typer.Option()] = None
    split: Annotated[str | None, typer.Option()] = None
    splits: Annotated[str | None, typer.Option()] = None
    extensions: Annotated[list[str] | None, typer.Option()] = None
    include_hidden: Annotated[bool | None, typer.Option("--include-hidden")] = None

    def corpus_values(self) -> dict[str, Any]:
        """The keys of the table `corpus`; None for those that are not given."""
        from workers.spec import keys

        return {
            "source": absolute_corpus(self.corpus),
            "label_names": absolute(self.label_names),
            "image_column": self.image_column,
            "id_column": self.id_column,
            "within": absolute(self.within),
            "every": self.every,
            "split": self.split,
            "splits": self.splits and keys.absolute(self.splits, Path.cwd()),
            "extensions": self.extensions or None,
            "include_hidden": self.include_hidden,
        }

    def decode_values(self) -> dict[str, Any]:
        """The keys of the table `decode`; None for those that are not given."""
        bands = self.bands and self.bands.split(",")
        return {"depth": self.depth, "bands": bands, "colour": self.colour, "jpeg": self.jpeg}

    def values(self) -> dict[str, Any]:
        """The keys of the spec; None for those that are not given."""
        values = super().values()
        values["resources"] |= {"readers": parse_number(self.readers)}
        return {**values, "corpus": self.corpus_values(), "decode": self.decode_values()}


def _absolute_keys(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a corpus, of which some may name files, with absolute paths."""
    from workers.spec import keys

    forms = {key: corpus[key] for key in keys.FORM_KEYS if corpus.get(key)}
    return {**corpus, **{key: keys.absolute(form, Path.cwd()) for key, form in forms.items()}}


def with_common_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose flags are those of `Common` and its own; see `_with_flags_of`."""
    return _with_flags_of(Common, command)


def with_network_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose flags are those of `NetworkFlags` and its own; see `_with_flags_of`."""
    return _with_flags_of(NetworkFlags, command)


def with_run_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose flags are those of `RunFlags` and its own; see `_with_flags_of`."""
    return _with_flags_of(RunFlags, command)


def with_flags_but_code(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the flags of `Common` but `--trust-code`: it never runs code."""
    return _with_flags_of(Common, command, without={"trust_code": None})


def with_model_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose flags are those of `ModelFlags` and its own; see `_with_flags_of`."""
    return _with_flags_of(ModelFlags, command)


def _with_flags_of(
    group: type[ModelFlags | RunFlags], command: Callable[..., None], without: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., None]:
    """A command whose flags are those of a group and its own; its function gets the group as its first argument.

    A flag of the group that the function redefines, for another help text, is not replaced. Those in `without` are not flags, and
    have these values.
    """
    own = list(signature(command).parameters.values())[1:]
    common = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(group)
        if field.name not in {*without, *(parameter.name for parameter in own)}
    ]
    named = {flag.name: flag for flag in common}
    first, last = ([named.pop(name) for name in names if name in named] for names in (FIRST, LAST))
    flags = [*first, *own, *named.values(), *last]

    @wraps(command)
    def with_flags(**values: Any) -> None:  # noqa: ANN401 - flags
        command(group(**without, **{flag.name: values.pop(flag.name) for flag in common}), **values)

    with_flags.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return with_flags
