"""Is a history of one KV v2 key linearizable?

Why this is fast and still complete
-----------------------------------
In general one must search for an order of the requests (Wing and Gong). Here the server numbers the versions of a key,
and when the key is at rest we read all of them: `stored[v]` is the value of version v. Every write has a value of its
own, so that `stored` says for each write whether it took effect, and in which place. The order of all effects is
known; nothing is left to search.

Give every moment of the key a *place*: 2v is the moment at which version v is written, 2v+1 the time during which it is
current. Each request is restricted to a set of places:

    write that made version v          {2v}
    read that saw version v            {2v+1}            (v = 0: there is none yet)
    write refused because of its cas   {2x+1 : x != cas}
    write without effect, no answer    anywhere: left out

No place is later than the last version's: that version was read when all requests had ended.

The history is linearizable exactly if each request can be given a place from its set such that a request that ended
before another began has no later place than that one. (Only if: that is what linearizable means. If: order by place,
and within a place in order of time; a place 2v holds one request, and requests in a place 2v+1 change nothing, so that
each sees what it saw.) Of the assignments that satisfy this, the least is found by taking the requests in the order of
their beginnings and giving each the least place of its set that is not below any of those which had ended by then. If
that fails for a request, no assignment exists, since all places before it were the least possible.

A request whose outcome is unknown has no end, so it is before nothing: it may take effect as late as it likes.
"""

import heapq
from dataclasses import dataclass, field

from history import FAILED, FOREVER, OK, REFUSED

#: What a violation is: effects that are wrong, or an answer from a state that had passed.
WRONG, STALE = "wrong", "stale"


@dataclass
class Violation:
    kind: str
    text: str
    ops: list = field(default_factory=list)

    def __str__(self):
        return "\n".join([self.text, *(f"    {op}" for op in sorted(self.ops, key=lambda op: op.start))])


def check_key(ops, stored):
    """Violations in the history `ops` of one key, whose versions are now `stored` (version to value)."""
    violations, place_of = [], {}
    made = _effects(ops, stored, violations)
    for op in ops:
        if op.kind == "write" and op.number in made:
            place_of[op.number] = 2 * made[op.number]
        elif op.kind == "read" and op.outcome == OK:
            if op.version and stored.get(op.version) != op.value:
                found = stored.get(op.version)
                violations.append(Violation(WRONG, f"version {op.version} was read, and is {found!r} now", [op]))
            else:
                place_of[op.number] = 2 * op.version + 1
        elif op.kind == "write" and op.outcome == REFUSED and op.cas is not None:
            place_of[op.number] = None
    placed = [op for op in ops if op.number in place_of]
    unplaceable = _order([op for op in placed if place_of[op.number] is not None], place_of, stored)
    violations += unplaceable
    # The answers that are wrong by themselves are not held against the refusals.
    blamed = {violation.ops[-1].number for violation in unplaceable}
    violations += _order([op for op in placed if op.number not in blamed], place_of, stored)
    return violations


def _effects(ops, stored, violations):
    """Which version each write made. Reports what contradicts the answers."""
    versions = {}
    for version, value in stored.items():
        versions.setdefault(value, []).append(version)
    if stored and sorted(stored) != list(range(1, max(stored) + 1)):
        gone = sorted(set(range(1, max(stored) + 1)) - set(stored))
        violations.append(Violation(WRONG, f"versions {gone} are gone"))
    made = {}
    for op in ops:
        if op.kind != "write":
            continue
        found = sorted(versions.pop(op.value, []))
        if len(found) > 1:
            violations.append(Violation(WRONG, f"one write took effect {len(found)} times: versions {found}", [op]))
        if op.outcome == OK and op.version not in found:
            there = stored.get(op.version)
            other = [o for o in ops if o.kind == "write" and o.value == there]
            text = f"an acknowledged write is lost: version {op.version} is {there!r}"
            violations.append(Violation(WRONG, text, [op, *other]))
        if op.outcome in (REFUSED, FAILED) and found:
            violations.append(Violation(WRONG, f"a refused write took effect: version {found}", [op]))
        if found and op.cas is not None and op.cas + 1 not in found:
            violations.append(Violation(WRONG, f"cas={op.cas} made version {found}", [op]))
        if found and op.outcome not in (REFUSED, FAILED):
            made[op.number] = op.version if op.outcome == OK and op.version in found else found[0]
    for value, found in versions.items():
        violations.append(Violation(WRONG, f"version {found} is {value!r}, which nobody wrote"))
    return made


def _order(ops, place_of, stored):
    """Gives each request its least place; reports those that have none."""
    violations, running, floor, floor_op = [], [], -1, None
    last = 2 * max(stored, default=0) + 1
    for op in sorted(ops, key=lambda op: op.start):
        while running and running[0][0] < op.start:
            _, _, place, ended = heapq.heappop(running)
            if place > floor:
                floor, floor_op = place, ended
        place = place_of[op.number]
        if place is None:
            place = _least_beside(op.cas, floor)
            latest = min(last, _latest(op, ops, place_of))
            if place > latest:
                seen = [floor_op, *_witness(op, ops, place_of, latest)]
                text = f"refused because of its cas, though version {op.cas} was the current one all the while"
                violations.append(Violation(STALE, text, [*filter(None, seen), op]))
                continue
        elif place < floor:
            kind = STALE if op.kind == "read" else WRONG
            text = (f"a {op.kind} in version {op.version if op.kind == 'read' else place // 2}, after version "
                    f"{floor // 2} had been {'seen' if floor % 2 else 'written'}")
            violations.append(Violation(kind, text, [floor_op, op]))
            continue
        if op.end != FOREVER:
            heapq.heappush(running, (op.end, op.number, place, op))
    return violations


def _least_beside(cas, floor):
    """The least place 2x+1 that is not below `floor` and has x != cas."""
    version = max(0, floor // 2)
    return 2 * (version + 1 if version == cas else version) + 1


def _latest(op, ops, place_of):
    """The last place that is not behind a request of known place which began after this one had ended.

    Blame goes to the refusal here, not to that later request: it is the refusal that cannot be explained.
    """
    after = (place_of[o.number] for o in ops if o.start > op.end and place_of[o.number] is not None)
    return min(after, default=FOREVER)


def _witness(op, ops, place_of, latest):
    return [o for o in ops if o.start > op.end and place_of[o.number] == latest][:1]


def check(ops, stored_by_key):
    """Violations of all keys, with their key in front."""
    by_key = {}
    for op in ops:
        if op.kind in ("read", "write"):
            by_key.setdefault(op.key, []).append(op)
    violations = []
    for key in sorted({*by_key, *stored_by_key}):
        for violation in check_key(by_key.get(key, []), stored_by_key.get(key, {})):
            violation.text = f"{key}: {violation.text}"
            violations.append(violation)
    return violations

