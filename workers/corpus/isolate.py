"""Find the image that kills or hangs a decoder. Takes suspects, gives confirmed culprits; keeps verdicts under the root."""

import hashlib
import json
import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from workers.corpus import sources
from workers.errors import Reason, Rejected
from workers.spec import LimitsSpec
from workers.store import paths
from workers.store.root import Root

if TYPE_CHECKING:
    from workers.corpus.manifest import Row

DECODE = "workers.corpus.decode:decode"
START_S = 60.0


@dataclass(frozen=True)
class Verdict:
    """A file that is known to crash or hang the decoder."""

    reason: Reason
    detail: str


def suspects(rows: Sequence["Row"], limits: LimitsSpec, hang_s: float, decode: str = DECODE) -> dict[int, Verdict]:
    """Decode rows in fresh processes; whoever dies or hangs there is tried again alone.

    Args:
        rows: the suspects.
        limits: what one file may cost.
        hang_s: a decode that takes longer hangs, seconds.
        decode: the decoder, as module:function.

    Returns:
        Verdicts by image index, for confirmed culprits only.
    """
    found: dict[int, Verdict] = {}
    remaining = [row for row in rows if not row.removed and not row.refused]
    while remaining:
        position = _first_culprit(remaining, limits, hang_s, decode)
        if position is None:
            break
        alone = remaining[position]
        if _first_culprit([alone], limits, hang_s, decode) is not None:
            found[alone.image_index] = _judge(alone, limits, hang_s, decode)
        remaining = remaining[position + 1 :]
    return found


def read_verdicts(root: Root, rows: Iterable["Row"], known: Iterable[str]) -> dict[int, Verdict]:
    """The verdicts on these rows; `known` are the names of the files below verdicts/, from one listing."""
    names = set(known)
    verdicts = {}
    for row in rows if names else ():
        key = _key(row)
        if f"{key}.json" in names:
            told = json.loads(root.read(paths.verdict_path(key)))
            verdicts[row.image_index] = Verdict(Reason(told["reason"]), told["detail"])
    return verdicts


def write_verdict(root: Root, row: "Row", verdict: Verdict) -> None:
    """Remember a culprit; deleting the file gives it another chance."""
    told = {"uri": row.uri, "reason": verdict.reason, "detail": verdict.detail}
    root.put(paths.verdict_path(_key(row)), json.dumps(told, sort_keys=True).encode())


def _key(row: "Row") -> str:
    return hashlib.sha256(json.dumps([row.uri, row.bytes, row.etag]).encode()).hexdigest()[:32]


def _judge(row: "Row", limits: LimitsSpec, hang_s: float, decode: str) -> Verdict:
    with _Child([row], limits, decode) as child:
        child.next(START_S)
        if child.next(hang_s) == "hang":
            return Verdict(Reason.DECODER_HANG, f"the decoder is not done after {hang_s:g} s")
        return Verdict(Reason.DECODER_CRASH, f"the decoder ends its process ({child.exit()})")


def _first_culprit(rows: Sequence["Row"], limits: LimitsSpec, hang_s: float, decode: str) -> int | None:
    """Position of the first row at which a process that decodes them in order dies or hangs."""
    with _Child(rows, limits, decode) as child:
        position = child.next(START_S)
        while isinstance(position, int) and position < len(rows):
            following = child.next(hang_s)
            if not isinstance(following, int):
                return position
            position = following
    return None


class _Child:
    """A fresh process that decodes rows and says, before each one and at the end, how many are done."""

    def __init__(self, rows: Sequence["Row"], limits: LimitsSpec, decode: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_decode_all, args=(list(rows), limits, decode, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def next(self, wait_s: float) -> "int | str":
        """How many rows are done, or 'hang', or 'crash'."""
        try:
            return int(self._ours.recv()) if self._ours.poll(wait_s) else "hang"
        except EOFError:
            return "crash"

    def exit(self) -> str:
        """How the process ended."""
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _decode_all(rows: Sequence["Row"], limits: LimitsSpec, decode: str, progress: Connection) -> None:
    module, _, function = decode.partition(":")
    run = getattr(import_module(module), function)
    for number, row in enumerate(rows):
        data = sources.read(row.uri, row.bytes) if row.bytes <= limits.bytes else b""
        progress.send(number)
        try:
            run(data, limits)
        except Rejected:
            continue
    progress.send(len(rows))
