"""The depth of 16-bit images. Takes the listing of a corpus, reads a sample of it, gives the bits that its values fill.

Cameras and microscopes store 12 bits in files of 16, which are near black if 65,535 is taken for white. The sample depends only
on the ids and sizes in the listing. Files that may be 16-bit grey are opened and decoded in a process of their own, which a
damaged one may crash.

As a program: prints that it is ready; reads files from standard input, each after its size (8 bytes), and prints a line for each:
the largest value and the declared bits, or `-`.
"""

import hashlib
import heapq
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from workers import formats
from workers.corpus import fetch, images
from workers.corpus.crew import wait_for_answer
from workers.corpus.manifest import Listing
from workers.corpus.samples import read_samples
from workers.errors import RunStopped, StaleFile
from workers.formats import Format
from workers.host.hangs import Limit
from workers.host.retrying import patience
from workers.sources import video
from workers.sources.blocks import is_compressed
from workers.sources.member_uris import is_member, parse
from workers.sources.versions import UNKNOWN_BYTES
from workers.spec.decoding import AUTO, DEEPEST, WHITES, DecodeSpec
from workers.spec.parts import LimitsSpec

SAMPLE = 32  # images, chosen by the hashes of their ids
SAMPLE_BYTES = 64 << 20  # of all files in the sample
COSTLY_BYTES = 16 << 20  # for which an image of unknown size counts: others have to be read before it
READS_AT_ONCE = 8
HANG_S = 300.0  # for all images of the sample that a process decodes
READY, UNUSABLE = "ready", "-"
DEEP_GREY = b"\x10\0"  # bits and colour type in the header of a PNG
SIZE = struct.Struct("<Q")
TAR = "tar"  # of the uris of members of tar archives
MAX_SAMPLE_VALUE = 281  # a TIFF tag
SIGNIFICANT_BITS = b"\0\0\0\x01sBIT"  # size and name of a chunk of a PNG
SHALLOW = tuple(ending[1:] for kind in formats.FORMATS if not kind.deep for ending in kind.extensions)


@dataclass(frozen=True)
class Finding:
    """What a sample shows.

    Attributes:
        images: number of 16-bit grey images in it.
        largest: their largest value.
        declared: the most bits that one of them declares to hold; 0 if none does.
    """

    images: int
    largest: int
    declared: int

    @property
    def depth(self) -> str:
        """The smallest depth that holds the values and what is declared."""
        return next(name for name, white in WHITES.items() if self.largest <= white and self.declared <= int(name))

    def __str__(self) -> str:
        """The depth and the reason."""
        images = f"{self.images} sampled 16-bit grey image{'s' if self.images > 1 else ''}"
        declared = f"; the files declare {self.declared} bits" if self.declared else ""
        return f"{self.depth}: the largest value in {images} is {self.largest:,}{declared}"


@dataclass(frozen=True)
class _Candidate:
    """A listed file that may be a 16-bit image."""

    uri: str
    bytes: int
    etag: str


def find(listing: Listing, spec: DecodeSpec, limits: LimitsSpec) -> Finding | None:
    """What a sample of a corpus shows; None if the spec gives a depth, or there are no 16-bit grey images in the sample.

    Raises:
        ReadError: a file cannot be read, or its storage does not answer.
        StoreError: a storage kept failing until the retries ran out.
    """
    if spec.depth != AUTO:
        return None
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        files = [data for data in threads.map(_read, _sample(listing, limits)) if len(data) <= limits.bytes]
    measured = list(_measure([data for data in files if _may_be_deep(data)], limits))
    if not measured:
        return None
    largest, declared = map(max, zip(*measured, strict=True))
    return Finding(len(measured), largest, min(declared, DEEPEST))


def _sample(listing: Listing, limits: LimitsSpec) -> list[_Candidate]:
    """The files with the lowest ranks, as far as they fit into SAMPLE_BYTES."""
    lowest = heapq.nsmallest(SAMPLE, _candidates(listing, limits), key=lambda item: item[0])
    sample, left = [], SAMPLE_BYTES
    for _, candidate in lowest:
        size = COSTLY_BYTES if candidate.bytes == UNKNOWN_BYTES else candidate.bytes
        if size <= left:
            sample.append(candidate)
            left -= size
    return sample


def _rank(image_id: str, uri: str) -> bytes:
    """The hash of an id; but members at the start of a compressed archive come first, as others take long to reach."""
    if is_member(uri, TAR) and is_compressed(parse(uri).file):
        return int(parse(uri).place.partition("+")[0]).to_bytes(hashlib.sha256().digest_size, "big")
    return hashlib.sha256(image_id.encode()).digest()


def _candidates(listing: Listing, limits: LimitsSpec) -> Iterator[tuple[bytes, _Candidate]]:
    """The files whose names allow 16 bits, with their ranks."""
    shallow = rf"(?i)\.({'|'.join(SHALLOW)})$"
    columns = ["image_id", "uri", "bytes", "etag", "refused"]
    with pq.ParquetFile(listing.folder / "listed.parquet") as file:
        for batch in file.iter_batches(columns=columns):
            fitting = pc.and_(pc.less_equal(batch["bytes"], limits.bytes), pc.is_null(batch["refused"]))
            deep = pc.invert(pc.match_substring_regex(batch["image_id"], shallow))
            still = pc.invert(pc.starts_with(batch["uri"], f"{video.SCHEME}://"))  # frames of videos have 8 bits
            for row in batch.filter(pc.and_(pc.and_(fitting, deep), still)).to_pylist():
                yield (
                    _rank(row["image_id"], row["uri"]),
                    _Candidate(row["uri"], row["bytes"], row["etag"]),
                )


def _read(candidate: _Candidate) -> bytes:
    """The bytes of a file; none if it has vanished or changed, which the scan reports."""
    limit = Limit(fetch.read_limit(candidate.bytes, fetch.READ_HANG_S))
    read = partial(fetch.read, candidate.uri, candidate.bytes, candidate.etag, patience(), limit.restart)
    try:
        return wait_for_answer(read, candidate.uri, limit)
    except StaleFile:
        return b""


def _may_be_deep(data: bytes) -> bool:
    """Whether a file may have 16-bit grey; the driver looks at the first bytes only, and opens no image."""
    kind = formats.of_bytes(data)
    return kind is not None and kind.deep and (kind.name != "PNG" or data[24:26] == DEEP_GREY)


def _is_deep_grey(image: Image.Image, data: bytes, kind: Format) -> bool:
    """Whether an image has one band of 16 bits whose white it does not declare."""
    is_netpbm = image.mode == "I" and kind.name == "PPM"
    return (image.mode in images.WIDE or is_netpbm) and not read_samples(image, data).declared


def _declared_bits(image: Image.Image, data: bytes, kind: Format) -> int:
    """The bits that a file says its values have, beside the size of a sample: sBIT of PNG, MaxSampleValue of TIFF; 0 if none."""
    if kind.name == "PNG":
        place = data.find(SIGNIFICANT_BITS, 0, data.find(b"IDAT"))
        return data[place + len(SIGNIFICANT_BITS)] if place > 0 else 0
    value = dict(getattr(image, "tag_v2", {})).get(MAX_SAMPLE_VALUE, 0)
    first = value[0] if isinstance(value, tuple) else value
    return first.bit_length() if isinstance(first, int) else 0


def _measure(files: Sequence[bytes], limits: LimitsSpec) -> Iterator[tuple[int, int]]:
    """Largest value and declared bits of each 16-bit grey image. One that crashes or hangs the process is left out."""
    remaining = list(files)
    while remaining:
        lines = _run(remaining, limits)
        for line in lines:
            if line != UNUSABLE:
                largest, declared = map(int, line.split())
                yield largest, declared
        remaining = remaining[len(lines) + 1 :]


def _run(files: Sequence[bytes], limits: LimitsSpec) -> list[str]:
    """The lines that a process prints for these files before it ends, crashes or hangs.

    Raises:
        RunStopped: it did not start.
    """
    words = [sys.executable, "-P", "-m", "workers.corpus.depth", str(limits.pixels)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    data = b"".join(SIZE.pack(len(file)) + file for file in files)
    try:
        done = subprocess.run(  # noqa: S603 - this module
            words, input=data, env=environment, capture_output=True, timeout=HANG_S, check=False
        )
        output, complaint = done.stdout, done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        output, complaint = error.stdout or b"", f"no answer within {HANG_S:g} s"
    first, *lines = output.decode().splitlines() or [""]
    if first != READY:
        reason = (complaint.splitlines() or ["it printed nothing"])[-1]
        raise RunStopped(f"the process that looks for the depth of 16-bit images did not start: {reason}")
    return lines


def _answer(source: IO[bytes], target: IO[str], limits: LimitsSpec) -> None:
    """Print a line when ready, then a line for each file; see the module."""
    target.write(f"{READY}\n")
    target.flush()
    while head := source.read(SIZE.size):
        data = source.read(SIZE.unpack(head)[0])
        try:
            target.write(f"{_line(data, limits)}\n")
        except Exception:  # noqa: BLE001 - decoders raise anything on damaged files; the scan makes them rejects
            target.write(f"{UNUSABLE}\n")
        target.flush()


def _line(data: bytes, limits: LimitsSpec) -> str:
    """The largest value and the declared bits of a file."""
    kind = formats.of_bytes(data)
    if kind is None:
        return UNUSABLE
    with images.open_image(data, kind) as image:
        images.require_size(image, limits)
        if not _is_deep_grey(image, data, kind):
            return UNUSABLE
        declared = _declared_bits(image, data, kind)
        image.load()
        return f"{int(np.asarray(image).max())} {declared}"


if __name__ == "__main__":
    _answer(sys.stdin.buffer, sys.stdout, LimitsSpec(pixels=int(sys.argv[1])))
