"""The search by meaning. Takes a page of results, adds the channels whose best patches are nearest to the words."""

import time
from collections.abc import Iterator
from contextlib import suppress

from jobs.texts import Floats, Texts
from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.nearby import NearCard, cards_of
from service.atlas.pages.parts import of_run
from service.atlas.pages.search import FOUND_OF_A_KIND, MeantChannels, SearchPage
from service.query.catalog import PublishedRun
from service.query.concepts import encoder_of, newest_embedding
from workers.errors import DeconvoyError
from workers.kinds import Kind

WAIT_S = 2.0  # for the image-text model, if it is not yet loaded
LOADING = "The image-text model is being loaded; reload this page in a few seconds."


def add_meanings(atlas: Atlas, page: SearchPage) -> SearchPage:
    """A page of results with the channels that are nearest to the words in meaning. A model may still be loading: not cached."""
    words = " ".join(page.words.split())
    if not words or atlas.texts is None:
        return page
    return page.model_copy(update={"meant": tuple(_of_scans(atlas, atlas.texts, words))})


def _of_scans(atlas: Atlas, texts: Texts, words: str) -> Iterator[MeantChannels]:
    """For each scan that was embedded, the channels of its newest embedding."""
    runs = atlas.runs()
    scans = [scan for scan in runs if scan.job == Kind.SCAN]
    embedded = [run for run in (newest_embedding(runs, scan) for scan in scans) if run is not None]
    for run in embedded:  # so that the process has them all while the first one is waited for
        with suppress(DeconvoyError):
            _direction(texts, run, words, 0.0)
    until = time.monotonic() + WAIT_S
    for run in embedded:
        problem = None
        try:
            direction = _direction(texts, run, words, max(0.0, until - time.monotonic()))
            cards = _channels(atlas, run, direction)
            problem = LOADING if direction is None else None
        except DeconvoyError as error:  # other results do not depend on it
            cards, problem = (), str(error)
        yield MeantChannels(
            run=of_run(run), encoder=encoder_of(run), href=links.run(run), channels=cards, problem=problem
        )


def _direction(texts: Texts, run: PublishedRun, words: str, wait_s: float) -> Floats | None:
    """The direction of the words; None if the model is still being loaded."""
    return texts.direction(run.encoder, words, wait_s) if run.encoder else None


def _channels(atlas: Atlas, run: PublishedRun, direction: Floats | None) -> tuple[NearCard, ...]:
    if direction is None:
        return ()
    return cards_of(atlas, run, atlas.concepts(run).nearest(direction, FOUND_OF_A_KIND))
