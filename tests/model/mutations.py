"""Deliberate faults in the code, each of which the lives of a run must show. Takes a name, changes the code while it lasts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jobs.run import plan, publish
from service.control.housekeeping import Housekeeping
from tests.model.store import SimulatedStore
from workers.actors import merge
from workers.actors.shard import Shard
from workers.store import documents, manifest, paths, rows
from workers.store.root import Root
from workers.store.tables.shared import RUNS

Patch = pytest.MonkeyPatch


def _results_are_truncated(patch: Patch) -> None:
    encode = rows.encode
    patch.setattr(rows, "encode", lambda schema, table: encode(schema, table)[:-100])


def _readers_see_half_of_a_file(patch: Patch) -> None:
    whole = SimulatedStore.pipe_file

    def pipe_file(store: SimulatedStore, path: str, value: bytes, **more: Any) -> None:
        whole(store, path, value[: len(value) // 2], **more)
        whole(store, path, value, **more)

    patch.setattr(SimulatedStore, "pipe_file", pipe_file)


def _the_plan_leaves_out_the_last_shard(patch: Patch) -> None:
    made = plan.plan

    def short(*given: Any, **more: Any) -> plan.Plan:
        planned = made(*given, **more)
        return replace(
            planned, works=planned.works[:-1], todo=tuple(work for work in planned.todo if work in planned.works[:-1])
        )

    patch.setattr(plan, "plan", short)


def _a_shard_ends_one_image_early(patch: Patch) -> None:
    made = plan.plan

    def short(*given: Any, **more: Any) -> plan.Plan:
        planned = made(*given, **more)
        first, *rest = planned.works
        assert isinstance(first, Shard)
        early = replace(first, stop=first.stop - 1)
        todo = tuple(early if work is first else work for work in planned.todo)
        return replace(planned, works=(early, *rest), todo=todo)

    patch.setattr(plan, "plan", short)


def _shards_are_merged_backwards(patch: Patch) -> None:
    made = merge.merge
    patch.setattr(
        "workers.actors.derive.merge", lambda root, item: made(root, replace(item, children=item.children[::-1]))
    )


def _a_merge_loses_a_child(patch: Patch) -> None:
    made = merge.merge
    patch.setattr(
        "workers.actors.derive.merge", lambda root, item: made(root, replace(item, children=item.children[:-1]))
    )


def _a_missing_child_counts_as_empty(patch: Patch) -> None:
    read = merge.read_child

    def read_child(root: Any, child: str, columns: list[str], missing: dict[str, str], *, sealed: bool) -> Any:
        del missing
        return read(root, child, columns, {}, sealed=sealed)

    patch.setattr(merge, "read_child", read_child)


def _failures_are_not_retried(patch: Patch) -> None:
    patch.setattr("workers.store.root.retried", lambda act, *_: act())


def _the_row_of_runs_comes_before_the_manifest(patch: Patch) -> None:
    made = publish._manifest

    def with_row(root: Any, run: str, parts: Any, facts: Any) -> manifest.Manifest:
        ours = made(root, run, parts, facts)
        with TemporaryDirectory() as folder, rows.TableWriter(root, RUNS, run, Path(folder)) as writer:
            writer.write(documents.runs_row(ours))
            writer.close()
        return ours

    patch.setattr(publish, "_manifest", with_row)


def _the_manifest_comes_before_the_tables(patch: Patch) -> None:
    def commit(root: Any, run: str) -> manifest.Manifest:
        claim = root.read(paths.claim_path(run))
        root.create(paths.manifest_path(run), claim)
        document = manifest.decode(claim, run)
        publish._place(root, document)
        root.put(paths.checksum_path(run), documents.checksum(claim))
        return document

    patch.setattr(publish, "_commit", commit)


def _tables_come_before_the_claim(patch: Patch) -> None:
    made = publish._manifest

    def placed(root: Any, run: str, parts: Any, facts: Any) -> manifest.Manifest:
        ours = made(root, run, parts, facts)
        publish._place(root, ours)
        return ours

    patch.setattr(publish, "_manifest", placed)


def _a_part_is_not_moved_into_place(patch: Patch) -> None:
    move = Root.move

    def forgetful(root: Root, source: str, target: str) -> None:
        if not target.startswith("tables/units/"):
            move(root, source, target)

    patch.setattr(Root, "move", forgetful)


def _staged_files_are_removed_too_early(patch: Patch) -> None:
    made = publish._read_claim

    def read(root: Any, run: str) -> bytes | None:
        for path in publish.staged(root, run)[-1:]:
            root.delete(path)
        return made(root, run)

    patch.setattr(publish, "_read_claim", read)


def _rm_removes_the_manifest_last(patch: Patch) -> None:
    planned = Housekeeping._of_run

    def late(self: Housekeeping, run: str, why: str) -> Iterator[Any]:
        removals = list(planned(self, run, why))
        yield from sorted(removals, key=lambda removal: removal.path == paths.manifest_path(run))

    patch.setattr(Housekeeping, "_of_run", late)
    patch.setattr(Housekeeping, "_hide", lambda *_: None)  # which would remove it before the other files


MUTATIONS: Mapping[str, Callable[[Patch], None]] = {
    function.__name__.removeprefix("_").replace("_", " "): function
    for function in (
        _results_are_truncated,
        _readers_see_half_of_a_file,
        _the_plan_leaves_out_the_last_shard,
        _a_shard_ends_one_image_early,
        _shards_are_merged_backwards,
        _a_merge_loses_a_child,
        _a_missing_child_counts_as_empty,
        _failures_are_not_retried,
        _the_row_of_runs_comes_before_the_manifest,
        _the_manifest_comes_before_the_tables,
        _tables_come_before_the_claim,
        _a_part_is_not_moved_into_place,
        _staged_files_are_removed_too_early,
        _rm_removes_the_manifest_last,
    )
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The code has a fault."""
    with pytest.MonkeyPatch.context() as patch:
        MUTATIONS[name](patch)
        yield
