"""A server for `kind: command`: the stand-in as a process of its own, which writes down what it was asked.

python kill_server.py PORT ASKED
"""

import hashlib
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.inference.endpoint_stand_in import Script, Seen, StandIn, stream


def said(seen: Seen) -> str:
    """Return what a request is answered with: a digest of it, so that a journal tells which requests it holds."""
    return hashlib.sha256(seen.content.encode()).hexdigest()[:12]


def answer(seen: Seen) -> Script:
    return stream(said(seen), "!", gap_s=0.05)


def main(port: str, asked: str) -> None:
    def noted(seen: Seen) -> Script:
        with Path(asked).open("a") as stream:
            stream.write(f"{said(seen)}\n")
        return answer(seen)

    with StandIn(noted, port=int(port)):
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
