"""The verdicts on rows of a large corpus are those that each row has alone."""

from pathlib import Path

from workers.corpus import isolate, manifest
from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.corpus.suspects import Suspects
from workers.errors import Reason
from workers.store.root import Root

HANG = Verdict(Reason.DECODER_HANG, "slow")
GONE = Verdict(Reason.VANISHED, "the file was listed but no longer exists")
ROWS = [Row(5 + n, f"{n}.jpg", f"/x/{n % 8}.jpg", 10, f"e{n // 8}", None, None, False, None) for n in range(20)]


def test_only_rows_of_files_with_verdicts_are_looked_up_and_only_their_version_counts(tmp_path: Path):
    root = Root(str(tmp_path))
    assert Suspects.of(root).verdicts(manifest.as_table(ROWS), 5) == {}
    isolate.write_verdict(root, ROWS[3], HANG)
    isolate.write_verdict(root, ROWS[12], GONE)
    isolate.write_verdict(root, Row(0, "other.jpg", "/y/other.jpg", 1, "e", None, None, False, None), HANG)
    isolate.write_verdict(root, ROWS[6], HANG)
    [damaged] = (name for name in root.files("verdicts") if b"/x/6.jpg" in root.read(f"verdicts/{name}"))
    root.put(f"verdicts/{damaged}", b"{")
    suspects = Suspects.of(root)
    assert suspects.uris.to_pylist() == ["/x/3.jpg", "/x/4.jpg", "/y/other.jpg"]
    expected = isolate.read_verdicts(root, ROWS, root.files("verdicts"))
    assert expected == {8: HANG, 17: GONE}
    assert suspects.verdicts(manifest.as_table(ROWS), 5) == expected
    parts = [suspects.verdicts(manifest.as_table(ROWS[start : start + 7]), 5 + start) for start in range(0, 20, 7)]
    assert {index: verdict for part in parts for index, verdict in part.items()} == expected
