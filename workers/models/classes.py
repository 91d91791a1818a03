"""Names of classes. Takes a text file with a line for each output of a network, gives their names and other words."""

from workers import files
from workers.errors import MisfitError, ModelError
from workers.host.retrying import reason

MOST_BYTES = 64 << 20


def read(path: str | None, outputs: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The name of each class, and other words that find it, separated by commas; without a file, no names and no words.

    Args:
        path: a line is a name or, after a tab, a name and other words; empty lines do not count.
        outputs: number of the network's outputs.

    Raises:
        ModelError: the file cannot be read, or its number of lines is not that of the outputs.
    """
    if path is None:
        return (), ()
    try:
        lines = files.read(path, MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"class names file {path!r} cannot be read: {reason(error)}") from error
    classes = [line.strip() for line in lines if line.strip()]
    if len(classes) != outputs:
        raise MisfitError(f"class names file {path!r} has {len(classes)} lines, but the model has {outputs} outputs")
    names, words = zip(
        *((name.strip(), more.strip()) for name, _, more in (line.partition("\t") for line in classes)), strict=True
    )
    return names, words if any(words) else ()
