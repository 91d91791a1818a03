"""How two specs differ. Takes their plain values, gives the keys that differ with both values, for messages."""

import json
from collections.abc import Iterator, Mapping

SHOWN = 3  # keys that are named
LONGEST = 120  # characters of a value
UNSET = "not set"


def differences(before: object, now: object) -> str:
    """The keys whose values differ, such as `scan.k was 9 and is now 4`.

    Args:
        before: the spec of the existing run, as nested dicts and lists.
        now: the spec that is requested.
    """
    one, other = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in sorted({*one, *other}) if one.get(key, UNSET) != other.get(key, UNSET)]
    words = [f"{key} was {_short(one, key)} and is now {_short(other, key)}" for key in keys[:SHOWN]]
    more = [f"{len(keys) - SHOWN} more differ"] if len(keys) > SHOWN else []
    return "; ".join([*words, *more]) or "in keys without a value"


def _flat(values: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key with its sections, and its value as text. A value of null is the same as none."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif values is not None:
        yield prefix, json.dumps(values, ensure_ascii=False)


def _short(values: Mapping[str, str], key: str) -> str:
    text = values.get(key, UNSET)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
