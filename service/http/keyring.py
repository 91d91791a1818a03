"""The keys of a root, cached in memory for seconds. Takes texts of keys, gives keys; requests do not read the store."""

from collections.abc import Mapping

from service.http import keys
from service.http.keys import Key, Keys
from service.pools import CallPool, Renewed
from workers.errors import DamagedFile
from workers.host import log
from workers.host.log import Log

RENEW_S = 2.0  # age at which the keys are read again, in the background
LIFE_S = 5.0  # longest time that a removed key still works
UNKNOWN_S = 1.0  # an unknown key has the keys read again, at most once in this time
LIMIT_S = 2.0  # timeout of the store


class Keyring:
    """All keys of a root. The folder is listed regularly; a key's file is read again only if it has changed."""

    def __init__(self, known: Keys) -> None:
        self._keys = known
        self._cached: dict[tuple[str, str], Key] = {}
        self._damaged: frozenset[str] = frozenset()
        self._renewed = Renewed(self._read, CallPool("the store", 1, LIMIT_S), RENEW_S, LIFE_S)

    async def find(self, text: str) -> Key | None:
        """The key with this text; None if there is none, or it was removed.

        Raises:
            Unavailable: the keys cannot be read in time.
        """
        number = keys.id_in(text)
        if number is None:
            return None
        known = await self._renewed.answer()
        if number not in known:  # it may have been added just now
            known = await self._renewed.answer(UNKNOWN_S)
        key = known.get(number)
        return key if key is not None and keys.fits(key, text) else None

    async def is_empty(self) -> bool:
        """Whether the root has no key, not even a damaged one.

        Raises:
            Unavailable: the keys cannot be read in time.
        """
        return not await self._renewed.answer(UNKNOWN_S) and not self._damaged

    def _read(self) -> Mapping[str, Key]:
        """Read all keys. A damaged file is logged: its key does not work, the others do."""
        valid, damaged = {}, set()
        for number, stamp in sorted(self._keys.stamps().items()):
            try:
                key = self._cached.get((number, stamp)) or self._keys.find(number)
            except DamagedFile as error:
                damaged.add(number)
                if number not in self._damaged:
                    Log().say(str(error), log.ERROR)
                continue
            if key is not None:
                valid[number, stamp] = key
        self._cached, self._damaged = valid, frozenset(damaged)
        return {key.id: key for key in valid.values()}
