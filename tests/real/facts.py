"""How a script talks with the test that runs it: a line of JSON for each fact, and one for each thing it is told."""

import json
import sys
import threading

_lock = threading.Lock()


def tell(fact, **more):
    """Tells a fact."""
    with _lock:
        print(json.dumps({"fact": fact, **more}), flush=True)


def told():
    """What the test says, until it is over."""
    for line in sys.stdin:
        yield json.loads(line)
