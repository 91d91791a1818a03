"""Embeddings of texts. Takes texts, gives their directions in the space of an image-text model that a root holds.

The models are in a process of its own: a web server must not load torch, and loading a model takes seconds.
"""

import multiprocessing
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from workers.errors import DeconvoyError, ExtraError, ModelError, Unavailable
from workers.host.parent import end_with_parent, without_interrupts
from workers.host.retrying import reason
from workers.store.facts import EncoderFacts
from workers.store.root import Root

if TYPE_CHECKING:
    from workers.models.encoders.encoder import Encoder

Floats = NDArray[np.float32]
Key = tuple[str, str]  # fingerprint of a model, and a text

# Patches are parts of photos, often close-ups. The mean over several wordings is more robust than any of them
# (Radford et al. 2021, section 3.1.4).
WORDINGS = ("{}", "a photo of {}", "a close-up of {}")
MODELS = 2  # that the process holds at once
KEPT = 1024  # answers
MOST_ASKED = 64  # texts that wait for the process; more could fill the pipe to it, and block
TICK_S = 0.05
LONGEST = 300  # characters; models read about 64 words


@dataclass
class Texts:
    """The embeddings of texts by the image-text models of a root. Safe to use from many threads.

    Attributes:
        root: URL of the root.
    """

    root: str
    _answers: LRUCache[Key, Floats | DeconvoyError] = field(default_factory=lambda: LRUCache(KEPT))
    _asked: set[Key] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _process: BaseProcess | None = None
    _connection: Connection | None = None

    def direction(self, encoder: EncoderFacts, text: str, wait_s: float) -> Floats | None:
        """The direction of a text, (dimensions) of length 1; None if it takes longer than `wait_s`: ask again later.

        Raises:
            Unavailable: too many other texts wait.
            DeconvoyError: the model cannot be read or run.
        """
        key, until = (encoder.fingerprint, text[:LONGEST]), time.monotonic() + wait_s
        while True:
            with self._lock:
                self._ask(key, encoder)
                self._receive()
                answer = self._answers.get(key)
                if isinstance(answer, DeconvoyError):
                    del self._answers[key]
            if isinstance(answer, DeconvoyError):
                raise answer
            if answer is not None or time.monotonic() > until:
                return answer
            time.sleep(TICK_S)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, key: Key, encoder: EncoderFacts) -> None:
        """Send a text to the process, unless it has been sent or answered."""
        if key in self._answers or key in self._asked:
            return
        if len(self._asked) >= MOST_ASKED:
            raise Unavailable(f"{MOST_ASKED} other texts are waiting to be embedded; try again later")
        if self._connection is None:
            self._start()
        assert self._connection is not None  # noqa: S101 - started above
        self._asked.add(key)
        with suppress(BrokenPipeError):  # it has ended, which `_receive` reports
            self._connection.send((encoder, key[1]))

    def _receive(self) -> None:
        """Store the answers that have arrived."""
        try:
            while self._connection is not None and self._connection.poll():
                key, answer = self._connection.recv()
                self._asked.discard(key)
                self._answers[key] = answer
        except (EOFError, OSError):
            if self._process is not None:
                self._process.join(TICK_S)
            code = self._process.exitcode if self._process else None
            for key in self._asked:
                self._answers[key] = Unavailable(f"the process that embeds texts has ended with code {code}; try again")
            self._end()

    def _start(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, self.root), daemon=True)
        with without_interrupts():
            process.start()
        theirs.close()
        self._process = process

    def _end(self) -> None:
        self._asked.clear()
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process, self._connection = None, None


def _serve(connection: Connection, url: str) -> None:
    """Answer texts until the parent ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    models: LRUCache[str, Encoder] = LRUCache(MODELS)
    while True:
        try:
            encoder, text = connection.recv()
        except EOFError:
            return
        connection.send(((encoder.fingerprint, text), _answer(models, url, encoder, text)))


def _answer(models: "LRUCache[str, Encoder]", url: str, encoder: EncoderFacts, text: str) -> Floats | DeconvoyError:
    try:
        from workers.models.encoders import stored

        if encoder.fingerprint not in models:
            models[encoder.fingerprint] = stored.read(Root(url), encoder)
        embedded = models[encoder.fingerprint].texts([wording.format(text) for wording in WORDINGS]).numpy()
    except (ExtraError, ModelError) as error:
        return error
    except DeconvoyError as error:
        return Unavailable(str(error))
    except Exception as error:  # noqa: BLE001 - the process must answer
        return Unavailable(f"the image-text model {encoder.source} cannot embed a text: {reason(error)}")
    mean = embedded.mean(axis=0)
    direction: Floats = mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny)
    return direction
