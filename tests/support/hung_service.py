"""`deconvoy serve` over a store that can hang. Takes a folder; hangs at a line on standard input, ends at SIGTERM.

As a program: FOLDER PORT. Its limits to waiting are short.
"""

import sys
import threading

from service.cli import serve
from service.cli.main import main
from service.http import connections
from tests.support.slow_store import faults


def hang() -> None:
    """Answer no question of the store after the next line of standard input."""
    sys.stdin.readline()
    faults.hang()


if __name__ == "__main__":
    serve.ENDING_S = connections.ENDING_S = 1
    threading.Thread(target=hang, daemon=True).start()
    folder, port = sys.argv[1:]
    sys.argv = ["deconvoy", "serve", "--root", f"slow://{folder}", "--port", port]
    main()
