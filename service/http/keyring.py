"""The keys of a root, kept in memory for a short time. Takes texts, gives the keys that they are; no request asks the store."""

from collections.abc import Mapping

from service.http import keys
from service.http.keys import Key, Keys
from service.pools import Pool, Renewed
from workers.errors import DamagedFile
from workers.host import log
from workers.host.log import Log

RENEW_S = 2.0  # older keys are read again, in the background
LIFE_S = 5.0  # a key that was removed may be used for so long
UNKNOWN_S = 1.0  # for an unknown key they are read again, at most once in this time
LIMIT_S = 2.0  # of waiting for the store


class Keyring:
    """All keys of a root. The folder is listed again and again; a key's own file is read again if it has changed."""

    def __init__(self, known: Keys) -> None:
        self._keys = known
        self._kept: dict[tuple[str, str], Key] = {}
        self._damaged: frozenset[str] = frozenset()
        self._renewed = Renewed(self._read, Pool("the store of the keys", 1, LIMIT_S), RENEW_S, LIFE_S)

    async def named(self, text: str) -> Key | None:
        """The key of a text; None if it is not one, or was removed.

        Raises:
            Unavailable: the keys cannot be read in time.
        """
        number = keys.id_in(text)
        if number is None:
            return None
        known = await self._renewed.answer()
        if number not in known:  # it may have been made just now
            known = await self._renewed.answer(UNKNOWN_S)
        key = known.get(number)
        return key if key is not None and keys.fits(key, text) else None

    async def is_empty(self) -> bool:
        """Whether the root has no key, as far as is known.

        Raises:
            Unavailable: the keys cannot be read in time.
        """
        return not await self._renewed.answer(UNKNOWN_S) and not self._damaged

    def _read(self) -> Mapping[str, Key]:
        """The keys that are there. A damaged one opens nothing and hides no other."""
        kept, damaged = {}, set()
        for number, stamp in sorted(self._keys.stamps().items()):
            try:
                key = self._kept.get((number, stamp)) or self._keys.find(number)
            except DamagedFile as error:
                damaged.add(number)
                if number not in self._damaged:
                    Log().say(str(error), log.ERROR)
                continue
            if key is not None:
                kept[number, stamp] = key
        self._kept, self._damaged = kept, frozenset(damaged)
        return {key.id: key for key in kept.values()}
