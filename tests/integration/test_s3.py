"""A corpus, an archive and a root on S3 give the tables of local ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.scan import scan
from jobs.watch import SilentWatcher
from tests.integration.test_corpora import TABLES, rows, scan_corpus, tar
from tests.integration.test_scan import spec
from tests.support import corpora, s3

IMAGES = 24


@pytest.fixture
def bucket() -> Iterator[Any]:
    """The file system of a bucket `atlas`; Ray's actors inherit the environment that leads to it."""
    with pytest.MonkeyPatch.context() as patch, s3.server(patch):
        import s3fs

        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir("atlas")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield filesystem
        ray.shutdown()


@pytest.mark.ray
def test_a_bucket_holds_the_corpus_an_archive_and_the_root(bucket, tmp_path):
    photos = tmp_path / "photos"
    corpora.photos(photos, range(IMAGES))
    scan_corpus(str(photos), tmp_path / "root")
    bucket.put(str(photos), "atlas/photos", recursive=True)
    bucket.put(tar(photos), "atlas/photos.tar")
    for number, source in enumerate(("s3://atlas/photos", "s3://atlas/photos.tar")):
        root, copy = f"s3://atlas/root-{number}", tmp_path / f"copy-{number}"
        plain = spec(Path("unused"), Path("unused"), resources={"actors": 1})
        corpus = plain.corpus.model_copy(update={"source": source})
        asked = plain.model_copy(update={"corpus": corpus, "root": root})
        outcome = scan(asked, SilentWatcher())
        assert (outcome.images, outcome.rejects) == (IMAGES, 0)
        bucket.get(f"{root}/", f"{copy}/", recursive=True)
        for table in TABLES:
            assert rows(copy, table) == rows(tmp_path / "root", table), (source, table)
        assert scan(asked, SilentWatcher()).already_published
