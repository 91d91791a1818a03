"""What a run decides about decoding before it starts. Takes its spec, model and corpus, gives the depth of 16-bit images."""

import json
from collections.abc import Callable

from workers.corpus import depth
from workers.corpus.depth import Finding
from workers.corpus.manifest import Listing
from workers.errors import RunError, SpecError
from workers.models.model import Model
from workers.spec.parts import JobSpec
from workers.store.manifest import Manifest


def find_depth(spec: JobSpec, listing: Listing) -> Finding | None:
    """What a sample of the corpus shows; None if the spec gives a depth, or the sample has no 16-bit grey images."""
    return depth.find(listing, spec.decode, spec.limits)


def choose_depth(spec: JobSpec, listing: Listing, say: Callable[[str], None]) -> str | None:
    """The depth that a run is pinned to, reported to `say`; None if there is nothing to choose."""
    finding = find_depth(spec, listing)
    if finding is None:
        return None
    say(f"depth {finding}; override with --depth")
    return finding.depth


def require_bands(spec: JobSpec, model: Model) -> None:
    """Require as many bands as the network has channels, if the spec selects bands.

    Raises:
        SpecError: there are others.
    """
    bands, channels = spec.decode.bands, model.preprocessing.channels
    if bands and len(bands) != channels:
        needed = f"the number of input channels of {model.stored.source} is {channels}"
        raise SpecError([f"decode.bands selects {len(bands)} bands, but {needed}"])


def require_same(spec: JobSpec, published: Manifest) -> None:
    """Require that a spec decodes images as a published run did, whose depth may have been chosen.

    Raises:
        RunError: it does not.
    """
    decode = published.sections.decode
    used = decode.model_copy(update={"depth": published.depth or decode.depth}).configuration()
    if used != spec.decode.configuration():
        known = {"depth": str(published.depth or decode.depth)} | used
        keys = ", ".join(f"{name} = {json.dumps(value)}" for name, value in known.items())
        raise RunError(f"from_run {published.run!r} decodes images differently; use its [decode]: {keys}")
