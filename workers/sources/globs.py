"""Globs with braces. Takes a corpus, gives the globs that it stands for and their folders; touches no file.

`{jpg,png}` and `{000..999}` stand for several globs. `[*]`, `[?]` and `[[]` are the characters themselves, as `glob.escape`
writes them. Everything else is as in fsspec: `*` and `?` do not match `/`, and only `**` as a whole folder matches folders.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import bracex
from fsspec.utils import glob_translate

from workers import locations
from workers.errors import CorpusError

MOST_GLOBS = 10_000  # that braces may stand for
_ESCAPED = re.compile(r"\[([*?[])\]")


@dataclass(frozen=True)
class Globs:
    """Globs that one walk through a folder answers.

    Attributes:
        base: the folder before their first wildcard.
        globs: the globs.
    """

    base: str
    globs: tuple[str, ...]

    @property
    def depth(self) -> int | None:
        """Folders below the base that may contain a match; None for all."""
        if any("**" in glob for glob in self.globs):
            return None
        return max(glob.count("/") - self.base.rstrip("/").count("/") for glob in self.globs) - 1

    def matcher(self) -> Callable[[str], object]:
        """A function that tells whether a path matches one of the globs."""
        return re.compile("|".join(map(glob_translate, self.globs))).match


def is_glob(source: str) -> bool:
    """Whether a corpus has wildcards or braces that stand for several names."""
    return locations.is_pattern(source) or ("{" in source and expand(source) != [source])


def expand(source: str) -> list[str]:
    """What the braces of a corpus stand for.

    Raises:
        CorpusError: they stand for too many globs, or are nested too deeply.
    """
    try:
        return list(dict.fromkeys(bracex.expand(source, keep_escapes=True, limit=MOST_GLOBS)))
    except bracex.ExpansionLimitException:
        raise CorpusError(f"the braces in corpus {source!r} expand to more than {MOST_GLOBS:,} names; use *") from None
    except RecursionError:
        raise CorpusError(f"the braces in corpus {source!r} are nested too deeply") from None


def escape(path: str) -> str:
    """A glob that matches exactly a path."""
    return re.sub(r"([*?[])", r"[\1]", path)


def base_of(glob: str) -> str:
    """The folder before a glob's first wildcard, without escapes; of a path without wildcards its folder."""
    before, plain = [], glob.split("/")
    for part in plain:
        if locations.is_pattern(_ESCAPED.sub("", part)):
            break
        before.append(_ESCAPED.sub(r"\1", part))
    folders = before if len(before) < len(plain) else before[:-1]
    return "/".join(folders) or "/"


def common_base(globs: Iterable[str]) -> str:
    """The folder that the bases of all globs share."""
    return os.path.commonpath([base_of(glob) for glob in globs])


def group(globs: Sequence[str]) -> list[Globs]:
    """The globs by the folder that has to be walked; no folder lies below another.

    Raises:
        CorpusError: `**` is only a part of a folder's name.
    """
    bases: dict[str, list[str]] = {}
    for glob in sorted(globs, key=base_of):
        if any("**" in part and part != "**" for part in glob.split("/")):
            raise CorpusError(
                f"glob {glob!r} is not valid: ** must stand alone between slashes, as in 'photos/**/*.jpg'"
            )
        base = base_of(glob)
        above = next((known for known in bases if base == known or base.startswith(f"{known.rstrip('/')}/")), base)
        bases.setdefault(above, []).append(glob)
    return [Globs(base, tuple(found)) for base, found in bases.items()]
