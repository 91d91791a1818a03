"""Channels as directions in the space of an image-text model. Takes embeddings of patches, gives directions and maps of them."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NEIGHBOURS = 15  # UMAP's default
FEWEST = 4  # channels that UMAP can arrange


def direction(patches: Floats) -> tuple[Floats, float]:
    """The mean direction of a channel's patches, and how well they agree.

    Args:
        patches: embeddings of length 1, (patches, dimensions), at least one.

    Returns:
        The mean, scaled to length 1, (dimensions); and its length before: 1 if all patches have the same embedding, and about
        1 / sqrt(patches) if they have nothing in common. If the embeddings cancel out exactly, both are 0.
    """
    mean = patches.astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    return (mean / length if length > 0 else mean).astype(np.float32), min(1.0, length)


def similarities(directions: Floats, wanted: Floats) -> Floats:
    """The cosines between directions (channels, dimensions) and one of length 1, (dimensions)."""
    cosines: Floats = directions @ wanted
    return cosines


def map_of(directions: Floats, seed: int) -> Floats:
    """A map in which channels with similar directions lie near one another (UMAP, McInnes et al. 2018, cosine distance).

    Args:
        directions: (channels, dimensions), of length 1.
        seed: random seed.

    Returns:
        (channels, 2): x and y, each from 0 to 1. Distances in such a map mean nothing, so the channels are spread evenly along
        each axis. Up to three channels, which have no neighbourhoods, lie on a line.
    """
    count = len(directions)
    if count < FEWEST:
        return np.stack([(np.arange(count) + 0.5) / max(1, count), np.full(count, 0.5)], axis=1).astype(np.float32)
    ranks = _umap(directions, seed).argsort(axis=0, kind="stable").argsort(axis=0)
    return (ranks / (count - 1)).astype(np.float32)


def _umap(directions: Floats, seed: int) -> NDArray[Any]:
    """UMAP's own places, with one thread, so that they depend on the seed alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        from umap import UMAP

        # Its usual start, a spectral one, fails for few points.
        settings = {"n_neighbors": min(NEIGHBOURS, len(directions) - 1), "init": "pca", "n_jobs": 1}
        places: NDArray[Any] = UMAP(metric="cosine", random_state=seed, **settings).fit_transform(directions)
    return places
