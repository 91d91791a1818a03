"""The committed descriptions of the API and of pages. Takes nothing, writes docs/openapi.json and docs/pages.json."""

import json
import tempfile
from pathlib import Path

from service.atlas.pages import schema
from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.http import app
from service.http.places import Allowed
from tests.support.clusters import FakeCluster
from workers.store.root import Root

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        submissions = Submissions(Root(scratch), FakeCluster())
        control = app.Control(submissions, Schedules(submissions.root, submissions), Allowed())
        described = app.create(submissions.root, control=control).openapi()
    docs = Path(__file__).parents[2] / "docs"
    for name, description in {"openapi": described, "pages": schema.described()}.items():
        (docs / f"{name}.json").write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
