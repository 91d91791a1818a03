"""A publisher killed between any two of its steps: readers see a whole run or none, and whoever comes next finishes it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from jobs.run import publish
from tests.unit.jobs.run.test_publish import FACTS, Parts
from workers.errors import DamagedRun
from workers.store import paths, verify
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import IMAGES, REJECTS

RUN = "flowers"
MUTATIONS = ("put", "put_file", "move", "create", "delete")


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path) -> Root:
    return Root(str(tmp_path / "root") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def rows(detail: str) -> dict[Any, list[dict[str, Any]]]:
    image = {"image_id": "a.png", "uri": "/a.png", "image_index": 0, "bytes": 7}
    return {REJECTS: [{**image, "reason": "damaged", "detail": detail}], IMAGES: [{**image, "decoder": detail}]}


def attempt(root: Root, scratch: Path, detail: str) -> Manifest:
    """One attempt at the run, from its tables to the end."""
    publish.find_or_finish(root, RUN)
    return publish.publish(root, RUN, stage(root, scratch, detail), FACTS, scratch)


def stage(root: Root, scratch: Path, detail: str) -> Parts:
    """The tables of an attempt, before any of them is published."""
    parts = {}
    for table, written in rows(detail).items():
        with TableWriter(root, table, RUN, scratch, staged=True) as writer:
            writer.write(pa.Table.from_pylist(written, table.schema))
            parts[table.name] = writer.close()
    return parts


def killed_before(number: int) -> pytest.MonkeyPatch:
    """Have the process die before its n-th change of the root, until this is undone."""
    left, patch = iter(range(number)), pytest.MonkeyPatch()

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return act(*args)

        return step

    for name in MUTATIONS:
        patch.setattr(Root, name, dying(getattr(Root, name)))
    return patch


def steps(root: Root, scratch: Path, detail: str = "first") -> Iterator[int]:
    """The numbers of the steps of an attempt; the attempt is killed before each, on a root that is emptied in between."""
    for number in range(100):
        for path in everything(root):
            root.delete(path)
        patch = killed_before(number)
        try:
            attempt(root, scratch, detail)
        except Killed:
            patch.undo()
            yield number
        else:
            patch.undo()
            return
    raise AssertionError("it never ends")


def everything(root: Root) -> list[str]:
    found = root.filesystem.find(root.path("")) if root.filesystem.exists(root.path("")) else []
    return [str(path).removeprefix(root.path("")) for path in found]


def folder(root: Root, table: str) -> set[str]:
    """The values of a table that a reader of the whole folder sees, of all runs."""
    column = {"rejects": "detail", "images": "decoder"}[table]
    parts = [path for path in everything(root) if path.startswith(f"tables/{table}/") and path.endswith(".parquet")]
    tables = [ds.dataset(root.path(path), filesystem=root.filesystem).to_table()[column].to_pylist() for path in parts]
    return {str(value) for values in tables for value in values}


def listed(root: Root) -> bool:
    """Whether a reader that keeps to `runs` sees the run."""
    return any(path.startswith("tables/runs/run=flowers/") for path in everything(root))


def test_readers_see_a_whole_run_or_none_wherever_its_publisher_was_killed(root, tmp_path):
    states = set()
    for _ in steps(root, tmp_path):
        visible = (folder(root, "rejects"), folder(root, "images"))
        assert all(values <= {"first"} for values in visible)
        whole = visible == ({"first"}, {"first"})
        published = root.exists(paths.manifest_path(RUN))
        assert whole or not (listed(root) or published)
        states.add((published, listed(root)))
    assert states == {(False, False), (True, False), (True, True)}


def test_the_same_command_finishes_what_a_killed_publisher_began(root, tmp_path):
    for number in steps(root, tmp_path):
        attempt(root, tmp_path, "first")
        assert not [each for each in verify.verify(root, RUN) if each.damage], number
        assert folder(root, "rejects") == folder(root, "images") == {"first"} and listed(root)
        left = {path for path in everything(root) if path.startswith(f"runs/{RUN}/")}
        assert left == {paths.manifest_path(RUN), paths.checksum_path(RUN)}


def test_another_spec_gets_the_run_only_before_it_is_claimed_and_their_rows_never_mix(root, tmp_path):
    kept = set()
    for number in steps(root, tmp_path):
        claimed = any(root.exists(path(RUN)) for path in (paths.claim_path, paths.manifest_path))
        try:
            attempt(root, tmp_path, "second")
        except DamagedRun as error:
            assert claimed and "was already published with different tables; choose another --run" in str(error)
        [value] = folder(root, "rejects")
        assert folder(root, "images") == {value} == {"first" if claimed else "second"}, number
        assert not [each for each in verify.verify(root, RUN) if each.damage], number
        kept.add(value)
    assert kept == {"first", "second"}


def test_a_loser_that_is_killed_before_its_claim_leaves_nothing_that_readers_of_folders_see(root, tmp_path):
    attempt(root, tmp_path, "winner")
    for number in range(100):
        patch = killed_before(number)
        try:
            attempt(root, tmp_path, "loser")
        except Killed:
            assert folder(root, "rejects") == folder(root, "images") == {"winner"}, number
        except DamagedRun:
            break
        finally:
            patch.undo()
    assert number > 3
    assert folder(root, "rejects") == {"winner"}
