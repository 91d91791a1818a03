"""Samples of a WebDataset: an image and the files beside it. Takes member names and sidecars, gives a label."""

import json
import tarfile
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sidecars:
    """The kinds of sidecars that hold a label, best first.

    Attributes:
        kinds: their extensions.
        keys: keys of a JSON object that hold a label, best first.
        most_bytes: larger sidecars are not read.
        most_letters: longer text, such as a caption, is not a label.
    """

    kinds: tuple[str, ...] = ("cls", "json", "txt")
    keys: tuple[str, ...] = ("label", "cls", "class", "class_name")
    most_bytes: int = 1 << 16
    most_letters: int = 200

    def kind(self, name: str) -> str | None:
        """The kind of a sidecar, by its name; None if it is another file."""
        extension = name.rpartition(".")[2].lower()
        return extension if extension in self.kinds else None

    def text(self, kind: str, data: bytes) -> str | None:
        """The label in a sidecar; None if it has none."""
        text = data.decode("utf-8", "replace").strip()
        value = self._json_value(text) if kind == "json" else text
        return value if value and len(value) <= self.most_letters and "\n" not in value else None

    def _json_value(self, text: str) -> str | None:
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError):
            return None
        found = [values[key] for key in self.keys if key in values] if isinstance(values, dict) else []
        return str(found[0]) if found and type(found[0]) in (str, int) else None


SIDECARS = Sidecars()


@dataclass
class Sample:
    """One sample.

    Attributes:
        name: what its members' names begin with.
        images: its images; a sample may have several.
        sidecars: contents of its sidecars, by kind.
    """

    name: str
    images: list[tarfile.TarInfo] = field(default_factory=list)
    sidecars: dict[str, bytes] = field(default_factory=dict)

    def label(self) -> str | None:
        """Its label; None if no sidecar has one."""
        labels = (SIDECARS.text(kind, self.sidecars[kind]) for kind in SIDECARS.kinds if kind in self.sidecars)
        return next((label for label in labels if label is not None), None)


def sample_of(member: str) -> str:
    """The sample of a member: its name up to the first dot of the file's name."""
    folder, _, name = member.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"
