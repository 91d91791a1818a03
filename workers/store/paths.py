"""Paths under a root. Takes ids and hashes, gives relative paths; accesses no storage."""

SHARDS = "shards"
MERGES = "merges"
RUNS = "runs"
VERDICTS = "verdicts"
SCHEDULES = "schedules"
KEYS = "keys"
TABLES = "tables"
IDEMPOTENCY = "idempotency"
NOTES = "notes"
DEFAULTS = "defaults"
ENCODERS = "encoders"
LAYER_SETS = "layer_sets"
DEFAULT_SCAN = f"{DEFAULTS}/scan.json"
# Folders where files are written; a killed writer may leave temporary files there.
TOPS = (
    SHARDS,
    RUNS,
    VERDICTS,
    SCHEDULES,
    KEYS,
    TABLES,
    IDEMPOTENCY,
    NOTES,
    DEFAULTS,
    ENCODERS,
    LAYER_SETS,
    "corpora",
    "models",
    "uploads",
)


def run_folder(run: str) -> str:
    """The files of one run, except its tables."""
    return f"{RUNS}/{run}"


def spec_path(run: str) -> str:
    """The spec and corpus manifest that a run is pinned to."""
    return f"{RUNS}/{run}/spec.json"


def attempts_folder(run: str) -> str:
    """The files of all attempts at a run."""
    return f"{RUNS}/{run}/attempts"


def attempt_path(run: str, number: int, what: str) -> str:
    """A file of an attempt: `begun`, `progress` or `ended`."""
    return f"{attempts_folder(run)}/{number}-{what}.json"


def manifest_path(run: str) -> str:
    """The commit of a run: the files that it lists are published."""
    return f"{RUNS}/{run}/manifest.json"


def checksum_path(run: str) -> str:
    """The SHA-256 of a run's manifest.json, in the format of `sha256sum -c`."""
    return f"{RUNS}/{run}/manifest.sha256"


def labels_path(run: str) -> str:
    """The document that names the labels which a published run was given afterwards."""
    return f"{RUNS}/{run}/labels.json"


def claim_path(run: str) -> str:
    """The future manifest.json of a run, while its tables are moved into place."""
    return f"{RUNS}/{run}/claim.json"


def staged_folder(run: str) -> str:
    """Where a run's table files wait until the run is claimed, out of sight of readers of whole folders."""
    return f"{RUNS}/{run}/staged"


def staged_path(part: str) -> str:
    """Where a file waits that will be moved to `part`, a path in a `table_folder`."""
    _, table, folder, name = part.split("/")
    return f"{staged_folder(folder.removeprefix('run='))}/{table}/{name}"


def table_folder(table: str, run: str) -> str:
    """The Hive-partitioned Parquet files of one table of one run."""
    return f"{TABLES}/{table}/run={run}"


def corpus_folder(source: str) -> str:
    """The manifests of a corpus, by the hash of its source."""
    return f"corpora/{source}"


def shard_folder(configuration: str) -> str:
    """All shard results of one configuration."""
    return f"{SHARDS}/{configuration}"


def shard_path(configuration: str, rows: str, *within: int | str) -> str:
    """The result of a shard, or of a part of it, named by the hashes of everything that it depends on."""
    return f"{SHARDS}/{configuration}/{'-'.join([rows, *map(str, within)])}.parquet"


def merge_path(children: str) -> str:
    """The merged results of shards, named by the hash of its children."""
    return f"{SHARDS}/{MERGES}/{children}.parquet"


def configuration_of(shard: str) -> str:
    """The configuration in the path of a shard's result."""
    return shard.split("/")[1]


def result_name(path: str) -> str:
    """The name of a result's file, by its path."""
    return path.rpartition("/")[2]


def upload_path(digest: str, name: str) -> str:
    """An uploaded file, by its hash; the name keeps the extension."""
    return f"uploads/{digest}/{name}"


def model_path(fingerprint: str) -> str:
    """The weights of a model."""
    return f"models/{fingerprint}.safetensors"


def layer_sets_folder(rest: str) -> str:
    """The sets of layers that were scanned with a configuration, by the hash of the rest of it."""
    return f"{LAYER_SETS}/{rest}"


def layer_set_path(rest: str, configuration: str) -> str:
    """A set of layers that was scanned, by the hash of the whole configuration."""
    return f"{layer_sets_folder(rest)}/{configuration}.json"


def encoder_path(fingerprint: str, name: str) -> str:
    """A file of an image-text model, by the hash of all its files."""
    return f"{ENCODERS}/{fingerprint}/{name}"


def verdict_path(key: str) -> str:
    """The verdict on a file that scans leave out."""
    return f"{VERDICTS}/{key}.json"


def schedule_path(name: str) -> str:
    """A schedule."""
    return f"{SCHEDULES}/{name}/schedule.json"


def pause_path(name: str) -> str:
    """The pause state of a schedule."""
    return f"{SCHEDULES}/{name}/paused.json"


def fires_folder(name: str) -> str:
    """The times at which a schedule fired."""
    return f"{SCHEDULES}/{name}/fires"


def fire_path(name: str, time: str) -> str:
    """A fire of a schedule, by its time in a form that sorts."""
    return f"{fires_folder(name)}/{time}.json"


def key_path(number: str) -> str:
    """The record of a key."""
    return f"{KEYS}/{number}.json"


def idempotency_path(digest: str) -> str:
    """The submission with an idempotency key, by the hash of the key."""
    return f"{IDEMPOTENCY}/{digest}.json"


def run_of(part: str) -> str:
    """The run of a path in a `table_folder`."""
    return part.split("/")[2].removeprefix("run=")
