"""Spec files that no editor wrote: a byte order mark, nesting, numbers, and text that no path holds."""

import os
import threading
from pathlib import Path, PurePath

import pytest

from workers.errors import SpecError
from workers.spec.scan import make_spec
from workers.spec.toml import read_spec, read_toml

LEAST = 'root = "r"\n[model]\nsource = "deconvoy://zfnet-mini"\n{model}\n[corpus]\nsource = "c"\n[scan]\n{scan}\n'


def made(model: str = "", scan: str = "") -> object:
    return make_spec(read_toml(LEAST.format(model=model, scan=scan), PurePath("/specs")))


def test_a_byte_order_mark_says_nothing(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + LEAST.format(model="", scan="").encode())
    assert make_spec(read_spec(tmp_path / "s.toml")) == make_spec(read_toml(LEAST.format(model="", scan=""), tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{a = " * 5000 + "1" + "}" * 5000,
        ".".join(["a"] * 5000) + " = 1",
        "[" + ".".join(["a"] * 5000) + "]\nb = 1",
        "a = " + "[" * 40 + "]" * 40,
    ],
)
def test_a_spec_that_is_nested_too_deeply_is_refused(text):
    with pytest.raises(SpecError, match=r"^the spec is nested .*; a spec is a set of tables that hold keys$"):
        read_toml(text, PurePath())


@pytest.mark.parametrize(
    ("model", "scan", "told"),
    [
        ("mean = [nan, 0, 0]", "", "model.mean.0: nan is not valid; input should be a finite number"),
        ("std = [1, inf, 1]", "", "model.std.1: inf is not valid; input should be a finite number"),
        ("kwargs = {dropout = nan}", "", "finite number"),
        ("", "max_reject_share = nan", "scan.max_reject_share: nan is not valid"),
        ("", "max_reject_share = 1e999", "scan.max_reject_share: inf is not valid"),
        ("", "k = 99999999999999999999", "scan.k: an integer of 68 bits is too large; at most 64 bits are supported"),
        ("kwargs = {num_classes = 0x1" + "0" * 500 + "}", "", "model.kwargs.num_classes: an integer of 2004 bits"),
        ("crop = 1000000", "", "model.crop: 1000000 is not valid"),
        (
            "crop = -5",
            "",
            "model.crop: -5 is not valid; input should be greater than or equal to 1 (centre crop in pixels: one side, or",
        ),
        (
            'crop = "-5"',
            "",
            "model.crop: '-5' is not valid; give a side (224), a height and a width ([224, 300]; as a flag",
        ),
        ('crop = "224.5"', "", "model.crop: '224.5' is not valid; give a side (224), a height and a width"),
        ('crop = "224,300"', "", "model.crop: '224,300' is not valid; give a side (224), a height and a width"),
        (
            "crop = true",
            "",
            "model.crop: True is not valid; give a side (224), a height and a width ([224, 300]; as a flag",
        ),
        ("crop = [true, 3]", "", "model.crop: [True, 3] is not valid; give a side (224), a height and a width"),
        ('resize = "224,300"', "", "model.resize: '224,300' is not valid; give a side (224), or a height and a width"),
        ("resize = true", "", "model.resize: True is not valid; give a side"),
        ("pad = true", "", "model.pad: True is not valid; give mean, or a value from 0 to 255"),
        ('pad = "-1"', "", "model.pad: '-1' is not valid; give mean, or a value from 0 to 255"),
        ("", "shard = 32000000", "scan.shard: 32000000 is not valid"),
        ("", 'layers = ["a\\u0000b"]', "scan.layers.0: 'a\\x00b' is not valid; it contains a null character"),
        ("", f'k = "{"x" * 5000}"', "xxx... is not valid"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key(model, scan, told):
    with pytest.raises(SpecError) as raised:
        made(model, scan)
    assert told in str(raised.value) and len(str(raised.value)) < 600


def test_thousands_of_digits_are_not_valid_toml():
    with pytest.raises(SpecError, match="the spec is not valid TOML: Exceeds the limit"):
        made(scan="k = " + "9" * 5000)


def test_what_is_no_text_file_of_a_sensible_size_is_refused(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'root = "\xff"')
    (tmp_path / "folder").mkdir()
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 30)
    for name, told in {
        "latin.toml": "can't decode byte 0xff",
        "folder": "Is a directory",
        "large.toml": "is larger than 10,000,000 bytes",
        "gone.toml": "No such file",
        "nu\0ll": "null byte",
    }.items():
        with pytest.raises(SpecError, match=told):
            read_spec(tmp_path / name)


def test_a_spec_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=Path.write_text, args=(tmp_path / "pipe", 'run = "piped"'))
    writer.start()
    assert read_spec(tmp_path / "pipe") == {"run": "piped"}
    writer.join()
