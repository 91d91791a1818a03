"""Where everything lies under a root. Takes ids and hashes, gives relative paths; touches nothing."""

SHARDS = "shards"
RUNS = "runs"
VERDICTS = "verdicts"
SCHEDULES = "schedules"
KEYS = "keys"
TABLES = "tables"
IDEMPOTENCY = "idempotency"
# Where files are written beside their places; the temporary ones of a writer that was killed stay there.
TOPS = (SHARDS, RUNS, VERDICTS, SCHEDULES, KEYS, TABLES, IDEMPOTENCY, "corpora", "models", "uploads")


def run_folder(run: str) -> str:
    """What belongs to one run alone."""
    return f"{RUNS}/{run}"


def spec_path(run: str) -> str:
    """The spec and manifest that a run is pinned to."""
    return f"{RUNS}/{run}/spec.json"


def attempts_folder(run: str) -> str:
    """What is known of the attempts at a run."""
    return f"{RUNS}/{run}/attempts"


def attempt_path(run: str, number: int, what: str) -> str:
    """What is known of an attempt: `begun`, `progress` or `ended`."""
    return f"{attempts_folder(run)}/{number}-{what}.json"


def manifest_path(run: str) -> str:
    """The commit of a run: what it lists is published."""
    return f"{RUNS}/{run}/manifest.json"


def checksum_path(run: str) -> str:
    """The SHA-256 of a run's manifest.json, as `sha256sum -c` reads it."""
    return f"{RUNS}/{run}/manifest.sha256"


def claim_path(run: str) -> str:
    """The manifest.json that a run will have, while its tables are moved into place."""
    return f"{RUNS}/{run}/claim.json"


def staged_folder(run: str) -> str:
    """Where the files of a run's tables wait until the run is claimed; readers of whole folders do not look here."""
    return f"{RUNS}/{run}/staged"


def staged_path(part: str) -> str:
    """Where the file waits that will lie at `part`, a path in a `table_folder`."""
    _, table, folder, name = part.split("/")
    return f"{staged_folder(folder.removeprefix('run='))}/{table}/{name}"


def table_folder(table: str, run: str) -> str:
    """The Parquet files of one table of one run, in hive layout."""
    return f"{TABLES}/{table}/run={run}"


def corpus_folder(source: str) -> str:
    """The manifests of one corpus, by the hash of its source."""
    return f"corpora/{source}"


def shard_folder(configuration: str) -> str:
    """All shard results of one configuration."""
    return f"{SHARDS}/{configuration}"


def shard_path(configuration: str, rows: str, *within: int | str) -> str:
    """One shard's result, or that of something within it, named by everything that it depends on."""
    return f"{SHARDS}/{configuration}/{'-'.join([rows, *map(str, within)])}.parquet"


def configuration_of(shard: str) -> str:
    """The configuration in a shard's path."""
    return shard.split("/")[1]


def upload_path(digest: str, name: str) -> str:
    """A file that a submitter uploaded, by its hash; the name keeps its ending."""
    return f"uploads/{digest}/{name}"


def model_path(fingerprint: str) -> str:
    """The weights of a model."""
    return f"models/{fingerprint}.safetensors"


def verdict_path(key: str) -> str:
    """The verdict on a file that scans leave out."""
    return f"{VERDICTS}/{key}.json"


def schedule_path(name: str) -> str:
    """A schedule."""
    return f"{SCHEDULES}/{name}/schedule.json"


def pause_path(name: str) -> str:
    """Whether a schedule is paused."""
    return f"{SCHEDULES}/{name}/paused.json"


def fires_folder(name: str) -> str:
    """The times at which a schedule fired."""
    return f"{SCHEDULES}/{name}/fires"


def fire_path(name: str, time: str) -> str:
    """One of them, by its time in a form that sorts."""
    return f"{fires_folder(name)}/{time}.json"


def key_path(number: str) -> str:
    """What is kept of a key."""
    return f"{KEYS}/{number}.json"


def idempotency_path(digest: str) -> str:
    """What was submitted with an idempotency key, by the hash of that."""
    return f"{IDEMPOTENCY}/{digest}.json"
