"""DICOM files, element by element. Takes tags and values, gives the bytes of a file; knows nothing of pydicom."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

EXPLICIT, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
RUN_LENGTHS, JPEG, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
LOSSLESS_JPEG, DEFLATED = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"
TAGS = {
    "samples": (0x0028, 0x0002, "US"), "photometric": (0x0028, 0x0004, "CS"), "planar": (0x0028, 0x0006, "US"),
    "frames": (0x0028, 0x0008, "IS"), "rows": (0x0028, 0x0010, "US"), "columns": (0x0028, 0x0011, "US"),
    "allocated": (0x0028, 0x0100, "US"), "stored": (0x0028, 0x0101, "US"), "high": (0x0028, 0x0102, "US"),
    "signed": (0x0028, 0x0103, "US"), "centre": (0x0028, 0x1050, "DS"), "width": (0x0028, 0x1051, "DS"),
    "intercept": (0x0028, 0x1052, "DS"), "slope": (0x0028, 0x1053, "DS"), "function": (0x0028, 0x1056, "LO"),
}  # fmt: skip
LONG_FORM = ("OB", "OW", "SQ", "UN")
UNDEFINED = 0xFFFFFFFF


def element(group: int, number: int, kind: str, value: bytes, order: str = "<", *, explicit: bool = True) -> bytes:
    """One element."""
    value += (b"\0" if kind in (*LONG_FORM, "UI") else b" ") * (len(value) % 2)
    head = struct.pack(f"{order}HH", group, number)
    if not explicit:
        return head + struct.pack(f"{order}I", len(value)) + value
    if kind in LONG_FORM:
        return head + kind.encode() + b"\0\0" + struct.pack(f"{order}I", len(value)) + value
    return head + kind.encode() + struct.pack(f"{order}H", len(value)) + value


def dicom(pixels: bytes, values: Mapping[str, Any], syntax: str = EXPLICIT) -> bytes:
    """A file with these elements; `pixels` is the value of its pixel data, in fragments if the syntax compresses."""
    order, explicit = ">" if syntax == BIG_ENDIAN else "<", syntax != IMPLICIT
    body = b""
    for name, value in sorted(values.items(), key=lambda item: TAGS[item[0]]):
        group, number, kind = TAGS[name]
        raw = struct.pack(f"{order}H", value) if kind == "US" else str(value).encode()
        body += element(group, number, kind, raw, order, explicit=explicit)
    if syntax in (EXPLICIT, BIG_ENDIAN, IMPLICIT):
        body += element(0x7FE0, 0x0010, "OW", pixels, order, explicit=explicit)
    else:
        body += _fragments(pixels)
    meta = element(0x0002, 0x0010, "UI", syntax.encode())
    length = element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + body


def _fragments(frame: bytes) -> bytes:
    """Pixel data with an empty table of offsets and one fragment."""
    item, end = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
    padded = frame + b"\0" * (len(frame) % 2)
    head = struct.pack("<HH", 0x7FE0, 0x0010) + b"OB\0\0" + struct.pack("<I", UNDEFINED)
    return head + item + struct.pack("<I", 0) + item + struct.pack("<I", len(padded)) + padded + end


def grey(values: np.ndarray, syntax: str = EXPLICIT, **more: Any) -> bytes:
    """A grey file of some values, (height, width)."""
    signed, bits = int(values.dtype.kind == "i"), 8 * values.dtype.itemsize
    about = {"samples": 1, "photometric": "MONOCHROME2", "rows": len(values), "columns": values.shape[1]}
    about |= {
        "allocated": bits,
        "stored": bits,
        "high": int(str(more.get("stored", bits))) - 1,
        "signed": signed,
    } | more
    order = ">" if syntax == BIG_ENDIAN else "<"
    return dicom(values.astype(f"{order}{values.dtype.str[1:]}").tobytes(), about, syntax)
