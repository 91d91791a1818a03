"""The pages that browser tests visit. Takes an empty root, fills it with a run of each kind; gives paths of all kinds of page."""

from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.http.app import Control
from service.http.places import Allowed
from tests.support import instrumented
from tests.support.clusters import FakeCluster
from tests.support.published import CHANNELS, DEAD, publish
from tests.unit.service.atlas.test_hostile import NAMED
from workers.store.root import Root

WIDE = 2048
PAGES = [
    "/", "/limits", "/schedules", "/runs/first", "/runs/first/labels", "/runs/first/images", "/runs/first/rejects",
    "/runs/first/layers/relu1", "/runs/first/layers/relu3?show=projection",
    "/runs/first/layers/relu2/channels/3", f"/runs/first/layers/relu2/channels/{DEAD}", "/runs/first/label?name=cat",
    "/runs/first/image?id=cat1/003.png", "/compare?a=first&b=second&layer=relu2", "/search?q=relu", "/runs/covered",
    "/runs/covered/rows/0", "/runs/inverted", "/runs/inverted/rows/0", "/runs/kernels", "/runs/kernels/rows/3",
    "/runs/trained", "/runs/trained/layers/relu2", "/runs/trained/rows/70", "/runs/moved", "/runs/moved/rows/0", "/runs/parts",
    "/runs/parts/rows/0", "/runs/randomised", "/runs/randomised/rows/0", "/runs/dreamt", "/runs/dreamt/rows/0",
    "/runs/meant", "/runs/meant/rows/3",
    "/embed/runs/first/layers/relu2/channels/3",
]  # fmt: skip


def publish_all(root: Root) -> None:
    """Publish the runs that these pages show."""
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    publish(root, "hostile", "2026-11-22T02:00:00+00:00", named=NAMED)
    publish(root, "wide", "2026-11-21T02:00:00+00:00", channels=CHANNELS | {"relu1": WIDE})
    instrumented.occlude(root)
    instrumented.invert(root)
    instrumented.filters(root)
    instrumented.evolve(root)
    instrumented.invariance(root)
    instrumented.correspondence(root)
    instrumented.sanity(root)
    instrumented.synthesise(root)
    instrumented.concepts(root)


def control_of(root: Root) -> Control:
    """Submissions to a cluster that runs nothing, and schedules."""
    submissions = Submissions(root, FakeCluster())
    return Control(submissions, Schedules(root, submissions), Allowed(("/photos",)))
