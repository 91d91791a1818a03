"""The command `correspondence`. Takes flags and a CSV file of parts, runs the job, reports how it ended."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Fill, Output, over_a_corpus
from service.cli.running import carry_out
from workers.errors import SpecError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(correspondence)


COLUMNS = ("image_id", "part", "top", "left", "bottom", "right")


@over_a_corpus
def correspondence(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
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
    """Hide the same part of several images and measure whether features change alike (Zeiler & Fergus, Table 1)."""
    drawing.check_output(output)
    from workers.spec.correspondence import CorrespondenceRun

    boxes = read_parts(parts) if parts else None
    told = {"parts": boxes, "layers": layers or None, "draws": draws, "seed": seed, "fill": fill}
    asked = common.asked(CorrespondenceRun, {"correspondence": told})
    carry_out(asked, output, as_json=common.as_json)


def read_parts(path: Path) -> list[dict[str, str]]:
    """The boxes of a CSV file, as text for the spec to judge.

    Raises:
        SpecError: it cannot be read, or its columns are not the ones that are known.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True, strict=True)
            found = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SpecError([f"parts file {str(path)!r} cannot be read: {error}"]) from error
    if sorted(rows.fieldnames or ()) != sorted(COLUMNS):
        told = f"the header is {','.join(rows.fieldnames or ())!r}; expected {','.join(COLUMNS)!r}"
        raise SpecError([f"parts file {str(path)!r}: {told}"])
    for line, row in found:
        if None in row or None in row.values():
            raise SpecError([f"parts file {str(path)!r}, line {line}: expected {len(COLUMNS)} values"])
        for side in COLUMNS[2:]:
            if not row[side].strip().isdecimal():
                told = f"{side} {row[side]!r} is not a number of pixels (0 or more)"
                raise SpecError([f"parts file {str(path)!r}, line {line}: {told}"])
    return [row for _, row in found]
