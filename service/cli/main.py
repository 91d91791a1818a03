"""The command `deconvoy`. Takes words, gives text or one JSON value; work is done elsewhere, imported when needed."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from service.cli import (
    compare,
    control,
    drawing,
    instruments,
    keeping,
    perturbations,
    query,
    sanity,
    schedule,
    serve,
    tables,
    training,
)
from service.cli.options import Common, Json, Label, Layers, Method, over_a_corpus
from service.cli.running import absolute_model, finish, number, size, tell, watched
from service.cli.terminal import accept_any_text, complain, echo, let_go_of_output
from workers.errors import DeconvoyError
from workers.host import log, machine
from workers.store.attempts import CANCELLED

if TYPE_CHECKING:
    from workers.core.network import Layer
    from workers.spec.run import RunSpec


class OneLine(TyperGroup):
    """What a user or the machine did wrong is one line on standard error; any other error is a bug and shows where it is."""

    def make_context(self, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - as typer calls it
        """Understand the words; some of them are answered at once, such as `--version`."""
        return self._in_one_line(partial(super().make_context, *words, **more), lambda: "")

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer does not export its context's class to override with
        """Run the command that was asked for."""
        return self._in_one_line(partial(super().invoke, ctx), lambda: str(ctx.invoked_subcommand))

    def _in_one_line(self, act: Callable[[], Any], command: Callable[[], str]) -> Any:  # noqa: ANN401 - what it gives
        try:
            return act()
        except DeconvoyError as error:
            code, line = error.exit_code, str(error)
        except KeyboardInterrupt:
            code, line = CANCELLED, f"stopped{_afterwards(command())}"
        except (OSError, MemoryError, RecursionError) as error:
            reason = machine.trouble(error)
            if reason is None:
                raise
            code, line = 1, reason
            let_go_of_output()
        if log.form() is log.Form.JSON:
            log.Log().say(line, log.ERROR, exit_code=code)
        else:
            complain(" ".join(line.splitlines()))
        raise typer.Exit(code)


app = typer.Typer(cls=OneLine, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(query.app, name="query")
instruments.add_to(app)
training.add_to(app)
perturbations.add_to(app)
sanity.add_to(app)
tables.add_to(app)
compare.add_to(app)
control.add_to(app)
keeping.add_to(app)
app.command()(serve.serve)
app.add_typer(schedule.app, name="schedule")


def _afterwards(command: str) -> str:
    """What the line of an interrupted command adds. `filters` keeps nothing that could be resumed."""
    from workers.spec.instruments import SPECS

    if command in ("submit", "status", "logs"):
        return "; a submitted run keeps running: deconvoy cancel stops it"
    return "; the same command resumes the run" if command == "demo" or command in SPECS.keys() - {"filters"} else ""


def main() -> None:
    """Run the command."""
    accept_any_text()
    app(prog_name="deconvoy")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deconvoy {version('deconvoy')}")
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    log_format: Annotated[
        str, typer.Option(envvar=log.FORMAT, help="Of what is logged to standard error: text or json.")
    ] = "text",
) -> None:
    """See what every channel of a convolutional network looks for, over an image corpus of any size."""
    del show
    log.set_up(log_format)


@app.command()
def demo(
    root: Annotated[str, typer.Option(help="Folder to write to.")] = "deconvoy-demo",
    actors: Annotated[str, typer.Option(help="Number of actors, or auto.")] = "auto",
    as_json: Json = False,
) -> None:
    """Scan the embedded photographs with the embedded network and draw its channels."""
    from jobs.demo import demo as run_demo
    from service.cli.console import print_json
    from workers.store.root import Root

    folder = Path(root).absolute()
    Root(str(folder)).check_writable()
    outcome = watched(lambda watch: run_demo(str(folder), watch, number(actors) or "auto"))
    sheets = drawing.draw_all(Root(outcome.root), outcome.run, folder)
    if as_json:
        print_json({**asdict(outcome), "sheets": sheets})
        return
    tell(outcome)
    echo(f"sheets  {folder}/ ({', '.join(Path(sheet).name for sheet in sheets)})")
    echo("yours   deconvoy scan --model torchvision://resnet18 --corpus FOLDER --root ROOT")


@app.command()
def layers(model: Annotated[str, typer.Argument(help=query.MODEL)], as_json: Json = False) -> None:
    """Print the layers of a model."""
    from service.cli.console import print_json, print_table
    from workers.models.model import load
    from workers.spec.run import ModelSpec, make

    found = [_layer(layer) for layer in load(make(ModelSpec, {"source": absolute_model(model)})).network.layers]
    if as_json:
        print_json(found)
        return
    shown = [
        {
            **layer,
            "map": f"{layer['height']} x {layer['width']}",
            "field": f"{layer['field_height']} x {layer['field_width']}",
        }
        for layer in found
    ]
    headings = {"index": "index", "layer": "layer", "kind": "kind", "channels": "channels", "map": "map size"}
    print_table(shown, headings | {"field": "receptive field", "stride_y": "stride", "auto": "auto"})


@app.command()
@over_a_corpus
def scan(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    layers: Layers = None,
    k: Annotated[int | None, typer.Option(help="Images kept per channel.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images in one forward pass.")] = None,
    shard: Annotated[int | None, typer.Option(help="Images in one shard, a multiple of the batch.")] = None,
    distinct: Annotated[str | None, typer.Option(help="What counts once: content, group or none.")] = None,
    group: Annotated[str | None, typer.Option(help="none, folder, or a regular expression on the image id.")] = None,
    label: Label = None,
    method: Method = None,
    image_format: Annotated[str | None, typer.Option(help="webp, or png for lossless everywhere.")] = None,
    previews: Annotated[bool | None, typer.Option(help="Keep small copies of the top images.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    max_reject_share: Annotated[
        float | None, typer.Option(help="Share of rejects above which the exit code is 3.")
    ] = None,
    resize: Annotated[int | None, typer.Option(help="Short side after resizing, pixels.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of the centre crop, pixels.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="nearest, bilinear or bicubic.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan; write nothing.")] = False,
) -> None:
    """Find each channel's strongest images in a corpus and carry their activation down to pixels."""
    from workers.spec.run import RunSpec

    what = {"layers": layers or None, "k": k, "batch": batch, "shard": shard, "distinct": distinct}
    flags = {
        "model": {"resize": resize, "crop": crop, "interpolation": interpolation},
        "corpus": {"label": label, "group": group},
        "scan": {**what, "max_reject_share": max_reject_share},
        "project": {"method": method, "image_format": image_format, "previews": previews},
        "resources": {"precision": precision},
    }
    asked = common.asked(RunSpec, flags)
    if dry_run:
        _plan(asked, as_json=common.as_json)
    else:
        _scan(asked, as_json=common.as_json)


def _scan(spec: "RunSpec", *, as_json: bool) -> None:
    from jobs.scan import scan as run_scan

    finish(watched(lambda watch: run_scan(spec, watch)), as_json=as_json)


def _plan(spec: "RunSpec", *, as_json: bool) -> None:
    from jobs.dry_run import dry_run
    from service.cli.console import print_json, print_table

    plan = asdict(dry_run(spec))
    if as_json:
        print_json(plan)
        return
    plan["estimated_bytes"] = f"{size(plan['estimated_bytes'])}, roughly"
    rows = [{"what": name.replace("_", " "), "plan": str(value)} for name, value in plan.items()]
    print_table(rows, {"what": "what", "plan": "plan"})


def _layer(layer: "Layer") -> dict[str, Any]:
    return {
        "index": layer.index,
        "layer": layer.name,
        "kind": layer.kind,
        "channels": layer.channels,
        "height": layer.height,
        "width": layer.width,
        "field_height": layer.field.height,
        "field_width": layer.field.width,
        "stride_y": layer.field.stride_y,
        "stride_x": layer.field.stride_x,
        "auto": layer.auto,
    }
