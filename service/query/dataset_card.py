"""A dataset card for the Hugging Face Hub. Takes a root, gives the README.md that makes the Hub's viewer show its tables.

A table is a configuration, and a run is a split: files have `run` only in their paths, which the viewer does not show. The card
gives the types of columns, so that the viewer shows pictures, and runs of earlier versions may lack columns.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa

from service.query import catalog, naming, sql
from service.query.catalog import PublishedRun
from workers.errors import DamagedRun, UsageError
from workers.host import log
from workers.store import paths
from workers.store.columns import IMAGE
from workers.store.root import Root
from workers.store.tables.registry import TABLES
from workers.store.tables.scan import PATCHES

PATH = "README.md"
TAGS = ("deconvnet", "deconvoy", "interpretability", "visualization")
ALL_SPLITS = "all"  # `datasets` reserves this name
MOST_SPLITS = 30  # the viewer shows no table with many splits; it reports tables of 51 and more
MARK = re.compile(rb"\n<!-- deconvoy dataset-card ([0-9a-f]{64}) -->\n\Z")


@dataclass(frozen=True)
class Card:
    """A card: its text, and the names of its tables and runs."""

    text: str
    tables: tuple[str, ...]
    runs: tuple[str, ...]


def make(root: Root, title: str, license_id: str | None = None, chosen: Sequence[str] = ()) -> Card:
    """The card of a root's published runs. Damaged runs are left out.

    Args:
        root: the root.
        title: title of the dataset.
        license_id: identifier of its license; None for a card without one.
        chosen: ids of the runs; by default the newest MOST_SPLITS.

    Raises:
        RunError: no run is published, or a chosen one is not.
        DamagedRun: all runs are damaged, or a chosen one is.
    """
    title, license_id = log.one_line(title), license_id and log.one_line(license_id)
    chosen = tuple(dict.fromkeys(chosen))
    if len(chosen) > MOST_SPLITS:
        raise UsageError(
            f"{len(chosen)} runs were named; the Hub shows at most {MOST_SPLITS}, so name fewer with --run"
        )
    files = sql.published(root, ())
    intact = {paths.run_of(path) for parts in files.values() for path in parts}
    runs = [catalog.find(root, run, job=None) for run in chosen] if chosen else catalog.runs(root)
    if damaged := [run for run in chosen if run not in intact]:
        raise DamagedRun(f"run {damaged[0]!r} is damaged; `deconvoy verify {damaged[0]} --root ROOT` gives details")
    runs = [run for run in runs if run.run in intact][:MOST_SPLITS]
    splits = dict(zip([run.run for run in runs], _split_names(runs), strict=True))
    rows = {part.path: part.rows for run in runs for parts in run.tables.values() for part in parts}
    tables = {name: _by_split(parts, splits, rows) for name, parts in files.items()}
    tables = {name: split for name, split in tables.items() if split}
    lines = (
        "---",
        *_front_matter(title, license_id, tables),
        "---",
        "",
        *_head(title, tables),
        *_runs(runs, splits),
        *_columns(tables),
    )
    text = "".join(f"{line}\n" for line in lines)
    return Card(f"{text}\n<!-- deconvoy dataset-card {_digest(text.encode())} -->\n", tuple(tables), tuple(splits))


def write(root: Root, card: Card) -> None:
    """Write a card to a root. It replaces only a card that this function wrote and nobody has changed.

    Raises:
        UsageError: there is another README.md.
    """
    if root.exists(PATH) and not is_own(root.read(PATH)):
        raise UsageError(
            f"{root.url.rstrip('/')}/{PATH} was not written by `deconvoy dataset-card`, or was edited; move it away first"
        )
    root.put(PATH, card.text.encode())


def is_own(text: bytes) -> bool:
    """Whether a README.md is an unchanged card."""
    mark = MARK.search(text)
    return mark is not None and mark[1].decode() == _digest(text[: mark.start()])


def _digest(text: bytes) -> str:
    return sha256(text).hexdigest()


def _split_names(runs: Sequence[PublishedRun]) -> list[str]:
    """A name for the split of each run: its id without characters that names of splits cannot have."""
    names: list[str] = []
    for run in runs:
        name = re.sub(r"\W", "_", run.run)
        numbered = (name, *(f"{name}__{number}" for number in range(2, len(names) + 3)))
        names.append(next(one for one in numbered if one not in names and one != ALL_SPLITS))
    return names


def _by_split(parts: Sequence[str], splits: Mapping[str, str], rows: Mapping[str, int]) -> dict[str, list[str]]:
    """The files of a table that have rows, by split. Those of `runs`, which no manifest names, have one."""
    files: dict[str, list[str]] = {}
    for path in parts:
        if (run := paths.run_of(path)) in splits and rows.get(path, 1):
            files.setdefault(splits[run], []).append(path)
    return files


def _front_matter(title: str, license_id: str | None, tables: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    """The card's metadata: https://huggingface.co/docs/hub/datasets-manual-configuration."""
    configs = [
        {
            "config_name": name,
            **({"default": True} if name == PATCHES.name else {}),
            "data_files": [{"split": split, "path": parts} for split, parts in files.items()],
        }
        for name, files in tables.items()
    ]
    features = [
        {"config_name": name, "features": [_feature(field.name, field.type) for field in TABLES[name].schema]}
        for name in tables
    ]
    license_ = {"license": license_id} if license_id else {}
    front = {"pretty_name": title, **license_, "tags": list(TAGS), "configs": configs, "dataset_info": features}
    return _yaml(front)


def _yaml(value: Any, indent: str = "") -> Iterator[str]:  # noqa: ANN401 - plain values
    """Dictionaries and lists as YAML; scalars as JSON, which is YAML too."""
    items = value.items() if isinstance(value, dict) else (("", item) for item in value)
    for key, item in items:
        head = f"{indent}{key}:" if key else f"{indent}-"
        if not isinstance(item, dict | list):
            yield f"{head} {json.dumps(item, ensure_ascii=False)}"
        elif key:
            yield head
            yield from _yaml(item, f"{indent}  ")
        else:
            first, *rest = _yaml(item, f"{indent}  ")
            yield from (f"{head} {first.lstrip()}", *rest)


def _feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    """A column's type in the words of `datasets`."""
    if not pa.types.is_list(kind):
        return {"name": name, "dtype": _dtype(kind)}
    inner = kind.value_type
    is_struct = pa.types.is_struct(inner)
    return {"name": name, "list": [_feature(each.name, each.type) for each in inner] if is_struct else _dtype(inner)}


def _dtype(kind: pa.DataType) -> str:
    if kind == IMAGE:
        return "image"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _head(title: str, tables: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    table = PATCHES.name if PATCHES.name in tables else next(iter(tables))
    split = next(iter(tables[table]))
    yield from (
        f"# {_plain(title)}",
        "",
        "What the channels of convolutional networks look for, made with Deconvoy: for each channel the images with the largest "
        "activations, the patch of each image that activates the channel most, and that activation projected "
        "down to pixels with the deconvnet of Zeiler & Fergus (2014).",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'{table} = load_dataset("ORG/NAME", "{table}", split="{split}")  # the name of this dataset, or its local folder',
        "```",
        "",
        "The value of a projection at a pixel is `sign(p) p² projection_scale`, where `p = pixel / 127.5 - 1`.",
        "",
    )


def _runs(runs: Sequence[PublishedRun], splits: Mapping[str, str]) -> Iterator[str]:
    yield from (
        "Each table is a subset, and each run a split.",
        "",
        "| split | run | job | model | corpus | images | published |",
        "|---|---|---|---|---|---|---|",
    )
    for run in runs:
        model, corpus = (
            naming.model_name(run.model),
            naming.corpus_name(run.corpus, is_short=True) if run.corpus else "",
        )
        cells = (splits[run.run], run.run, run.job, model, corpus, f"{run.images:,}", run.created[:10])
        yield f"| {' | '.join(map(_plain, cells))} |"


def _columns(tables: Mapping[str, object]) -> Iterator[str]:
    """The columns of each table with their meaning."""
    for name in tables:
        yield from ("", f"## {name}", "", "| column | meaning |", "|---|---|")
        for column in TABLES[name].schema:
            yield f"| {column.name} | {_plain(column.metadata[b'doc'].decode())} |"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line of a table."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", " ".join(text.split()))
