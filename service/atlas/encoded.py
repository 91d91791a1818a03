"""Encoded pictures. Takes bytes, gives them with their media type."""

from dataclasses import dataclass

BYTES_KEPT = 128_000_000  # of pictures in a cache


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its media type."""

    data: bytes
    media: str


def encoded_bytes(picture: Picture) -> int:
    """The size of a picture, for caches."""
    return len(picture.data)
