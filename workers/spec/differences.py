"""How two specs differ. Takes their plain values, gives the keys that differ with both values, for messages."""

import json
from collections.abc import Iterator, Mapping
from itertools import takewhile

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
    texts = [(key, one.get(key, UNSET), other.get(key, UNSET)) for key in keys[:SHOWN]]
    words = [f"{key} was {_short(was, now)} and is now {_short(now, was)}" for key, was, now in texts]
    more = [f"{len(keys) - SHOWN} more differ"] if len(keys) > SHOWN else []
    return "; ".join([*words, *more]) or "in keys without a value"


def _flat(values: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key with its sections, and its value as text. A value of null is the same as none."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif values is not None:
        yield prefix, json.dumps(values, ensure_ascii=False)


def _short(text: str, other: str) -> str:
    """A value, or its part around the first character that differs from the other value."""
    if len(text) <= LONGEST:
        return text
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
    start = max(0, shared - LONGEST // 2)
    end = start + LONGEST
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
