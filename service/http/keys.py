"""Keys for the service. Takes names and scopes, gives secrets once; stores only their hashes, as files of the root."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pydantic.dataclasses import dataclass

from workers.errors import DamagedFile, UsageError
from workers.store import files, paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

_FORM = re.compile(r"deconvoy_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


class Scope(StrEnum):
    """What a key allows. Each scope includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, wanted: "Scope") -> bool:
        """Whether this scope allows what another one allows."""
        return list(Scope).index(self) >= list(Scope).index(wanted)


@dataclass(frozen=True)
class Key:
    """A stored key: its secret of 256 random bits is stored only as a hash, from which nobody can guess it."""

    id: str
    name: str
    scope: Scope
    created: str
    digest: str


_FORMAT = JsonFormat(Key, sort_keys=False)


class Keys:
    """The keys of a root."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def __bool__(self) -> bool:
        """Whether there is a key."""
        return bool(self._root.files(paths.KEYS))

    def add(self, name: str, scope: Scope) -> str:
        """Create a key; gives its text, which is shown only this once."""
        number, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(number, name, scope, made, _digest(secret))
        self._root.put(paths.key_path(number), _FORMAT.encode(key), private=True)
        return f"deconvoy_{number}_{secret}"

    def all(self) -> Sequence[Key]:
        """All keys, the oldest first."""
        keys = [self.find(name.removesuffix(".json")) for name in self._root.files(paths.KEYS)]
        return sorted((key for key in keys if key), key=lambda key: (key.created, key.id))

    def remove(self, number: str) -> None:
        """Remove a key; it stops working.

        Raises:
            UsageError: there is no such key.
        """
        known = self.all()
        if number not in {key.id for key in known}:
            ids = ", ".join(key.id for key in known if key.name == number)
            hint = f"give the id of the key with this name: {ids}" if ids else "`deconvoy keys list` shows the keys"
            raise UsageError(f"there is no key with the id {number!r}; {hint}")
        self._root.delete(paths.key_path(number))

    def stamps(self) -> Mapping[str, str]:
        """The ids of all keys, each with a stamp that changes when its file changes; one listing."""
        stamps = files.stamps_beside(self._root, paths.KEYS)
        return {name.removesuffix(".json"): stamp for name, stamp in stamps.items()}

    def find(self, number: str) -> Key | None:
        """A key by its id; None if there is none.

        Raises:
            DamagedFile: its file cannot be parsed.
        """
        try:
            return _FORMAT.decode(self._root.read(paths.key_path(number)))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedFile(f"key {number!r} cannot be parsed: {error}; remove it and add another") from error


def id_in(text: str) -> str | None:
    """The id in the text of a key; None if the text does not have the form of a key."""
    form = _FORM.match(text)
    return form[1] if form else None


def fits(key: Key, text: str) -> bool:
    """Whether a text is the text of this key."""
    form = _FORM.match(text)
    return form is not None and form[1] == key.id and hmac.compare_digest(key.digest, _digest(form[2]))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
