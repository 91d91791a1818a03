"""The description of the API, as it is committed. Takes nothing, writes docs/openapi.json."""

import json
import tempfile
from pathlib import Path

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
    path = Path(__file__).parents[2] / "docs" / "openapi.json"
    path.write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
