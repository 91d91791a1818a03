"""The instruments of the atlas. Takes a run or a row, gives its page.

The file `service/atlas/instruments/KIND.py` names the record of a kind of job as `INSTRUMENT`. A scan has pages of its own.
"""

from collections.abc import Mapping
from importlib import import_module

from service.atlas.atlas import Atlas
from service.atlas.instruments.instrument import Instrument
from service.atlas.pages.values import Page
from service.query.catalog import PublishedRun
from service.query.findings import finding
from workers.errors import QueryError
from workers.kinds import Kind


def _load(kind: Kind) -> Instrument:
    instrument: Instrument = import_module(f"service.atlas.instruments.{kind}").INSTRUMENT
    return instrument


INSTRUMENTS: Mapping[Kind, Instrument] = {kind: _load(kind) for kind in Kind if kind is not Kind.SCAN}


def run_page(atlas: Atlas, run: PublishedRun, start: int = 0) -> Page:
    """The page of an instrument's run, from some image on.

    Raises:
        QueryError: the run is of another kind.
    """
    if run.job not in INSTRUMENTS:
        raise QueryError(f"run {run.run!r} is of kind {run.job.value!r}, not an instrument")
    return INSTRUMENTS[run.job].run_page(atlas, run, start)


def row_page(atlas: Atlas, run_id: str, number: int) -> Page:
    """The page of one row of an instrument's table."""
    row = finding(atlas.run(run_id), number)
    return INSTRUMENTS[row.run.job].row_page(atlas, row)
