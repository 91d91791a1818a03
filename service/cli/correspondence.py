"""The command `correspondence`. Takes flags and a CSV file of parts, runs the job, prints its outcome."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Fill, Output, with_common_flags
from service.cli.running import run_spec
from workers.errors import SpecError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(correspondence)


COLUMNS = ("image_id", "part", "top", "left", "bottom", "right")


@with_common_flags
def correspondence(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    parts: Annotated[
        Path | None,
        typer.Option(
            help=f"CSV file with the columns {','.join(COLUMNS)}; boxes are half-open, in pixels of the upright image."
        ),
    ] = None,
    layers: Annotated[list[str] | None, typer.Option()] = None,
    draws: Annotated[int | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    fill: Fill = None,
    output: Output = None,
) -> None:
    """Hide the same part of several images and measure whether features change in the same way (Zeiler & Fergus, Table 1)."""
    drawing.check_output(output)
    from workers.spec.correspondence import CorrespondenceRun

    boxes = read_parts(parts) if parts else None
    flags = {"parts": boxes, "layers": layers or None, "draws": draws, "seed": seed, "fill": fill}
    spec = common.build_spec(CorrespondenceRun, {"correspondence": flags})
    run_spec(spec, output, common)


def read_parts(path: Path) -> list[dict[str, str]]:
    """The boxes of a CSV file, as text that the spec validates.

    Raises:
        SpecError: the file cannot be read, or its columns are not COLUMNS.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True, strict=True)
            numbered = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SpecError([f"parts file {str(path)!r} cannot be read: {error}"]) from error
    if sorted(rows.fieldnames or ()) != sorted(COLUMNS):
        header = ",".join(rows.fieldnames or ())
        raise SpecError([f"parts file {str(path)!r}: the header is {header!r}; expected {','.join(COLUMNS)!r}"])
    for line, row in numbered:
        if None in row or None in row.values():
            raise SpecError([f"parts file {str(path)!r}, line {line}: expected {len(COLUMNS)} values"])
        for side in COLUMNS[2:]:
            if not row[side].strip().isdecimal():
                problem = f"{side} {row[side]!r} is not a number of pixels (0 or more)"
                raise SpecError([f"parts file {str(path)!r}, line {line}: {problem}"])
    return [row for _, row in numbered]
