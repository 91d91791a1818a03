"""The worker that embeds channels. Takes channels of a layer, writes the directions of their top patches."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from workers.actors import device
from workers.actors.environment import Environment
from workers.actors.job import Job, network_configuration
from workers.actors.reports import GroupReport
from workers.actors.shard import ChannelBatch
from workers.core import concepts
from workers.core.concepts import Floats
from workers.errors import NumericsError
from workers.models.encoders import stored
from workers.spec.concepts import ConceptsRun
from workers.store import rows
from workers.store.facts import EncoderFacts
from workers.store.manifest import Manifest
from workers.store.root import patient
from workers.store.tables.concepts import EMBEDDED
from workers.store.tables.scan import PATCHES

# Raise it whenever the same inputs would give other numbers: stored results of the old algorithm are then not reused.
CONCEPTS_ALGORITHM = 1

AT_ONCE = 64  # largest number of patches in one forward pass


def at_once(spec: ConceptsRun) -> int:
    """The number of patches in one forward pass: fewer if the batch had to be made smaller."""
    return max(1, min(AT_ONCE, 4 * spec.batch_size))


def concepts_configuration(job: Job[ConceptsRun], environment: Environment, encoder: EncoderFacts) -> dict[str, Any]:
    """All that the embeddings of a batch of channels depend on, except the channels and their patches."""
    return {
        "job": "concepts",
        "algorithm": CONCEPTS_ALGORITHM,
        **network_configuration(job, environment),
        "encoder": encoder.fingerprint,
        "patches": job.spec.concepts.patches,
        "at_once": at_once(job.spec),
    }


class ConceptsWorker:
    """Embeds the top patches of channels.

    Args:
        job: the job.
        encoder: the image-text model, under the root.
        scan: the scan's manifest.
    """

    def __init__(self, job: Job[ConceptsRun], encoder: EncoderFacts, scan: Manifest) -> None:
        self.job, self.root, self.done = job, patient(job.spec.root), 0
        self._patches, where = scan.tables[PATCHES.name], job.spec.resources
        self._index = {layer.name: layer.index for layer in scan.layers}
        device.configure(where.device, where.threads)
        self.encoder = stored.read(self.root, encoder, where.device)

    def check(self) -> Environment:
        """Check that this node can read the root; gives its software and device."""
        return replace(device.check(self.job, self.root), encoder=self.encoder.library)

    def run(self, batch: ChannelBatch) -> GroupReport:
        """Embed the patches of a batch of channels, and write its result."""
        started = time.monotonic()
        self.done = 0
        shown = self._read(batch)
        embedded = self._embed(batch, shown["patch"].to_pylist())
        table = pa.Table.from_pylist(list(self._rows(batch, shown, embedded)), EMBEDDED)
        self.root.put(batch.result, rows.encode(EMBEDDED, table))
        self.done = len(batch.channels)
        return GroupReport(batch.result, len(table), len(shown), time.monotonic() - started)

    def _read(self, batch: ChannelBatch) -> pa.Table:
        """The best patches of the channels with a positive score, by channel and rank."""
        wanted = [
            ("layer", "==", batch.layer),
            ("channel", ">=", batch.channels[0]),
            ("channel", "<=", batch.channels[-1]),
            ("rank", "<", self.job.spec.concepts.patches),
            ("score", ">", 0),
        ]
        names = ["channel", "rank", "patch"]
        parts = [rows.read_table(self.root, part.path, names, wanted) for part in self._patches]
        return pa.concat_tables(parts).sort_by([("channel", "ascending"), ("rank", "ascending")])

    def _embed(self, batch: ChannelBatch, patches: Sequence[dict[str, bytes]]) -> Floats:
        """The embeddings of patches, (patches, dimensions)."""
        parts, size = [np.zeros((0, 1), np.float32)], at_once(self.job.spec)
        for start in range(0, len(patches), size):
            pictures = [_decode(patch["bytes"]) for patch in patches[start : start + size]]
            parts.append(self.encoder.images(pictures).numpy())
            self.done = len(batch.channels) * (start + len(pictures)) // len(patches)
        embedded: Floats = np.concatenate(parts[1:] or parts)
        if not np.isfinite(embedded).all():
            raise NumericsError(f"layer {batch.layer}: the image-text model gives NaN or infinity for a patch")
        return embedded

    def _rows(self, batch: ChannelBatch, shown: pa.Table, embedded: Floats) -> Iterator[dict[str, Any]]:
        """A row for each channel."""
        channels = shown["channel"].to_numpy()
        for channel in batch.channels:
            own = embedded[channels == channel]
            direction, agreement = concepts.direction(own) if len(own) else (None, None)
            yield {
                "layer": batch.layer,
                "layer_index": self._index[batch.layer],
                "channel": channel,
                "patches": len(own),
                "embedding": direction,
                "agreement": agreement,
            }


def _decode(data: bytes) -> Image.Image:
    """A patch as RGB; grey ones have three equal colours."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB")
