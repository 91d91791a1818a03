"""`deconvoy serve` whose store can be slowed down and hung. Takes its flags, and commands as lines on standard input.

They are `latency 0.02`, `hang`, `recover`, and `calls`, which gives the number of questions to the store since the last time.
"""

import json
import sys
import threading

from service.cli.main import main
from tests.support.slow_store import faults


def obey() -> None:
    """Do what the lines say; each is answered by one line."""
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "latency":
            faults.latency_s = float(rest[0])
        elif word == "calls":
            print(json.dumps(faults.calls), flush=True)
            faults.forget()
            continue
        else:
            {"hang": faults.hang, "recover": faults.recover}[word]()
        print("done", flush=True)


if __name__ == "__main__":
    threading.Thread(target=obey, daemon=True).start()
    main()
