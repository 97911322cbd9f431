"""What clients asked and were answered."""

import itertools
import threading
import time
from dataclasses import asdict, dataclass

#: Happened; was refused because of what is there; certainly did not happen, for another reason; may have happened.
OK, REFUSED, FAILED, UNKNOWN = "ok", "refused", "failed", "unknown"
FOREVER = float("inf")


@dataclass
class Op:
    """One request and what came of it. Times are of one monotonic clock.

    A request without a certain answer (`UNKNOWN`) may take effect any time after its start, or never.
    """

    kind: str
    start: float
    node: str = ""
    key: str = ""
    value: str = ""
    cas: int | None = None
    end: float = FOREVER
    outcome: str = UNKNOWN
    version: int | None = None
    note: str = ""
    number: int = 0
    #: Where a read was asked of the node itself: what sys/health said there just before.
    active: bool | None = None

    def __str__(self):
        asked = f"{self.kind} {self.key}"
        if self.value and self.kind == "write":
            asked += f" = {self.value}"
        if self.cas is not None:
            asked += f" cas={self.cas}"
        answered = f"{self.outcome}"
        if self.version is not None:
            answered += f" version {self.version}"
            if self.kind == "read":
                answered += f" {self.value}"
        ended = "open" if self.end == FOREVER else f"{self.end:.4f}"
        asked_of = self.node + {True: " (active)", False: " (standby)", None: ""}[self.active]
        return f"#{self.number} [{self.start:.4f} … {ended}] {asked_of}: {asked} -> {answered} {self.note}".rstrip()


class History:
    """The requests of one round, from all threads."""

    def __init__(self):
        self._lock, self._numbers = threading.Lock(), itertools.count(1)
        self.ops = []

    def begin(self, kind, **more):
        op = Op(kind, time.monotonic(), **more)
        with self._lock:
            op.number = next(self._numbers)
            self.ops.append(op)
        return op

    @staticmethod
    def finish(op, outcome, **more):
        """A request of unknown outcome has no end: it may still take effect."""
        op.outcome = outcome
        for name, value in more.items():
            setattr(op, name, value)
        if outcome != UNKNOWN:
            op.end = time.monotonic()

    def of(self, kind):
        return [op for op in self.ops if op.kind == kind]

    def as_json(self):
        return [{**asdict(op), "end": None if op.end == FOREVER else op.end} for op in self.ops]
