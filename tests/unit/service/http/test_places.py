"""Places that others may name: under an allowed prefix and written straight, or refused with the reason."""

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.http.places import Allowed
from workers.corpus import entries
from workers.errors import RefusedError
from workers.spec.filters import FiltersRun
from workers.spec.kinds import SPECS, kind_with
from workers.spec.make import make
from workers.spec.parts import AnyRun, CorpusSpec


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos-of-others").mkdir()
    (tmp_path / "photos" / "out").symlink_to(tmp_path / "photos-of-others")
    return tmp_path / "photos"


def spec_of(**sections) -> AnyRun:
    return make(SPECS[kind_with(sections)], {"root": "/atlas", **sections})


def filters_of(source: str) -> AnyRun:
    """A spec whose only place is a file of weights."""
    return make(FiltersRun, {"root": "/atlas", "models": [{"source": source}]})


def test_what_lies_under_a_prefix_passes(photos):
    allowed = Allowed((str(photos), "s3://bucket/photos"))
    for place in ("", "/cats", "/cats/*.jpg", "/**/*.png"):
        assert allowed.check(f"{photos}{place}", "corpus") is None, place  # else it raises
    for place in (
        "s3://bucket/photos",
        "s3://bucket/photos/2026/a.jpg",
        "S3://Bucket/photos/x",
        f"file://{photos}/cats",
    ):
        allowed.check(place, "corpus")


@pytest.mark.parametrize(
    "place",
    [
        "PHOTOS-of-others", "PHOTOS/../photos-of-others", "PHOTOS/out", "PHOTOS/out/*.jpg", "/etc/passwd", "PHOTOS*/x.jpg",
        "s3://bucket/photos-of-others", "s3://other/photos", "s3://bucket", "gs://bucket/photos",
        "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x", "file:///etc/shadow", "memory://photos",
        "zip://a.zip::s3://bucket/photos", "s3://bucket/photos/%2e%2e/x", "s3://bucket/photos%2f..%2fx",
        "s3://bucket/photos\\..\\x", "s3://bucket/photos/../x", "s3://user:secret@bucket/photos",
        "s3://bucket/photos?versionId=1", "s3://bucket/photos\n/x", "s3://bucket/photos/\x00", "simplecache::file:///etc",
        "", "..", "reference://", "github://o:r@/photos", "~/photos", "file:PHOTOS", "file:///PHOTOS/../x", "local://~/x",
    ],
)  # fmt: skip
def test_what_lies_elsewhere_or_could_lead_there_is_refused_with_its_reason(photos, place):
    allowed = Allowed((str(photos), "s3://bucket/photos"))
    with pytest.raises(RefusedError, match="is refused: "):
        allowed.check(place.replace("PHOTOS", str(photos)), "corpus")


@pytest.mark.parametrize("letter", ["*", "?", "[2026]", "*/x", "[!a]/*"])
def test_a_prefix_is_no_pattern_and_allows_no_more_than_it_says(photos, letter):
    (photos.parent / "secret").mkdir()
    allowed = Allowed((f"{photos}{letter}", f"s3://bucket/photos{letter}"))
    for place in (f"{photos.parent}/secret/x", f"{photos}/cats", f"{photos}{letter}", f"{photos}{letter}/*.jpg",
                  "s3://bucket/secret/x", f"s3://bucket/photos{letter}/x"):  # fmt: skip
        with pytest.raises(RefusedError):
            allowed.check(place, "corpus")


def test_a_pattern_is_looked_for_in_the_folder_before_it_wherever_the_service_stands(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for place in ("/*", "/*.jpg", "file:///*", f"{photos}*", "s3://bucket*/photos", "s3://bucket/photos*/x"):
        with pytest.raises(RefusedError):
            Allowed((str(photos), "s3://bucket/photos")).check(place, "corpus")
    Allowed(("/",)).check("/*.jpg", "corpus")
    Allowed(("file:///",)).check("/srv/photos", "corpus")


@pytest.mark.parametrize(
    "prefix", ["", " ", "photos", "./photos", "~/photos", "file://photos", "local://~/x", "file:/srv"]
)
def test_a_prefix_that_is_empty_or_relative_is_refused_at_the_start(tmp_path, prefix):
    done = CliRunner().invoke(app, ["serve", "--root", str(tmp_path), "--port", "0", "--allow", prefix])
    told = f"deconvoy: --allow {prefix!r} is not a valid prefix: give an absolute path or a URL\n"
    assert (done.exit_code, done.output) == (2, told)


def test_nothing_is_allowed_where_the_operator_allows_nothing(photos):
    with pytest.raises(RefusedError, match="start the service with --allow PREFIX"):
        Allowed().check(str(photos), "corpus")


def test_every_place_of_a_spec_is_looked_at(photos):
    allowed = Allowed((str(photos),))
    corpus = {"source": str(photos)}
    allowed.check_spec(spec_of(corpus=corpus, model={"source": "torchvision://resnet18?weights=IMAGENET1K_V1"}))
    for sections in (
        {"corpus": {"source": "/etc"}, "model": {"source": "deconvoy://zfnet-mini"}},
        {"corpus": corpus, "model": {"source": "torchvision://resnet18?weights=/etc/shadow"}},
        {"corpus": corpus, "model": {"source": "torchvision://resnet18?weights=s3://x/y"}},
        {"corpus": corpus, "model": {"source": "deconvoy://zfnet-mini", "classes": "/etc/passwd"}},
        {
            "corpus": corpus,
            "model": {"source": "deconvoy://zfnet-mini"},
            "evolve": {"checkpoints": [f"{photos}/1.pt", "/etc/x.pt"]},
        },
        {"models": [{"source": "deconvoy://zfnet-mini"}, {"source": "deconvoy://zfnet?weights=../up.safetensors"}]},
    ):
        with pytest.raises(RefusedError):
            allowed.check_spec(spec_of(**sections))


@pytest.mark.parametrize("weights", ["passwords", "data:,abc", "memory:x", "local:x", "simplecache::x", "%2e%2e", "é"])
def test_weights_of_our_own_networks_are_places_whatever_they_look_like(photos, weights):
    for network in ("zfnet", "zfnet-mini"):
        with pytest.raises(RefusedError, match=r"weights .* is refused"):
            Allowed((str(photos),)).check_spec(filters_of(f"deconvoy://{network}?weights={weights}"))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("hf-hub:/etc/snapshot", r"snapshot '/etc/snapshot' is refused: it is not under an allowed prefix"),
        ("hf-hub:{photos}/../up", r"snapshot .* is refused: '..' is not allowed"),
        ("hf-hub:./up", r"snapshot './up' is refused: give an absolute path"),
        ("hf-hub:s3://bucket/up", r"snapshot 's3://bucket/up' is refused"),
        ("hf-hub:file:///etc", r"snapshot 'file:///etc' is refused"),
        ("hf-hub:memory://x::/etc", r"snapshot .* is refused: chained"),
        ("hf-hub:{photos}/net?weights=/etc/x", r"weights '/etc/x' is refused"),
        ("hf-hub:other/net@main", r"repository 'hf://other/net' is refused"),
        ("hf-hub:organisation/net@main", r"repository 'hf://organisation/net' is refused"),
        ("hf-hub:org/net@main?weights=/etc/x", r"weights '/etc/x' is refused"),
    ],
)
def test_snapshots_and_repositories_are_places(photos, source, line):
    allowed = Allowed((str(photos), "hf://org"))
    with pytest.raises(RefusedError, match=line):
        allowed.check_spec(filters_of(source.format(photos=photos)))
    for fine in (f"hf-hub:{photos}/net", f"hf-hub:{photos}/net?weights={photos}/w.bin", "hf-hub:org/net@main"):
        allowed.check_spec(filters_of(fine))


@pytest.mark.parametrize("weights", ["data:,abc", "memory:x", "simplecache::x", "~", "a-b"])
def test_weights_of_torchvisions_networks_are_places_unless_they_are_a_word(photos, weights):
    with pytest.raises(RefusedError, match=r"weights .* is refused"):
        Allowed((str(photos),)).check_spec(filters_of(f"torchvision://resnet18?weights={weights}"))
    for word in ("DEFAULT", "IMAGENET1K_V1", ""):
        Allowed((str(photos),)).check_spec(filters_of(f"torchvision://resnet18?weights={word}"))


def test_a_link_that_leads_out_is_refused_by_name_and_followed_when_its_folder_is_listed(photos):
    """As docs/service.md says."""
    (photos.parent / "photos-of-others" / "p.png").write_bytes(b"x")
    with pytest.raises(RefusedError):
        Allowed((str(photos),)).check(f"{photos}/out", "corpus")
    Allowed((str(photos),)).check(str(photos), "corpus")
    assert [each.image_id for each in entries.listing(CorpusSpec(source=str(photos)))] == ["out/p.png"]


def test_a_relative_path_is_refused_wherever_the_service_stands(photos, monkeypatch):
    monkeypatch.chdir(photos)  # the job that reads it stands elsewhere
    for place in ("cats", "./cats", "file://cats", f"file:{photos}", "~"):
        with pytest.raises(RefusedError, match="give an absolute path"):
            Allowed((str(photos),)).check(place, "corpus")
