"""Occlusion the plain way: every occluded image is run whole. Takes what `occlude` takes, gives its maps."""

from functools import partial

import torch
from torch import Tensor

from workers.core.network import Network
from workers.core.occlusion import Squares


def occluded(
    network: Network, image: Tensor, number: int, channel: int, squares: Squares, fill: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums (rows, columns) of a channel's map in float64, and scores (rows, columns, classes)."""
    totals, scores = [], []
    last = network.output
    for row in range(squares.rows):
        batch = image.repeat(squares.columns, 1, 1, 1)
        top = row * squares.stride
        for column in range(squares.columns):
            left = column * squares.stride
            box = slice(top, top + squares.size), slice(left, left + squares.size)
            batch[column, :, *box] = fill.expand(image.shape[1:])[:, *box]
        maps: dict[int, Tensor] = {}
        network.forward(batch, [number, last], partial(_keep, maps))
        totals.append(maps[number][:, channel].double().sum(dim=(1, 2)))
        scores.append(maps[last].flatten(1))
    return torch.stack(totals), torch.stack(scores)


def _keep(maps: dict[int, Tensor], node: int, _: object, map_: Tensor) -> None:
    maps[node] = map_
