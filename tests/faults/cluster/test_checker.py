"""Tests of the checker: histories that are linearizable and histories that are not.

    python3 -m unittest discover tests/faults/cluster
"""

import itertools
import random
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent))
from checker import STALE, WRONG, check_key  # noqa: E402
from history import FAILED, FOREVER, OK, REFUSED, UNKNOWN, Op  # noqa: E402
from verify import check_patient  # noqa: E402


def numbered(*ops):
    for number, op in enumerate(ops):
        op.number, op.key = number, "k"
    return list(ops)


def write(start, end, value, outcome=OK, version=None, cas=None):
    return Op("write", start, end=FOREVER if outcome == UNKNOWN else end, value=value, outcome=outcome, version=version, cas=cas)


def read(start, end, version, value=""):
    return Op("read", start, end=end, value=value, outcome=OK, version=version)


class Histories(unittest.TestCase):
    def found(self, stored, *ops):
        return [violation.kind for violation in check_key(numbered(*ops), stored)]

    def test_one_after_the_other(self):
        self.assertEqual(self.found({1: "a", 2: "b"}, read(0, 1, 0), write(2, 3, "a", OK, 1, 0), read(4, 5, 1, "a"),
                                    write(6, 7, "b", OK, 2, 1), read(8, 9, 2, "b")), [])

    def test_reads_beside_a_write_see_either(self):
        self.assertEqual(self.found({1: "a", 2: "b"}, write(0, 1, "a", OK, 1), write(2, 9, "b", OK, 2),
                                    read(3, 4, 1, "a"), read(5, 6, 2, "b"), read(3, 8, 1, "a")), [])

    def test_reads_beside_a_write_do_not_go_back(self):
        self.assertEqual(self.found({1: "a", 2: "b"}, write(0, 1, "a", OK, 1), write(2, 9, "b", OK, 2),
                                    read(3, 4, 2, "b"), read(5, 6, 1, "a")), [STALE])

    def test_a_stale_read(self):
        self.assertEqual(self.found({1: "a", 2: "b"}, write(0, 1, "a", OK, 1), write(2, 3, "b", OK, 2), read(4, 5, 1, "a")), [STALE])
        self.assertEqual(self.found({1: "a"}, write(0, 1, "a", OK, 1), read(2, 3, 0)), [STALE])

    def test_a_lost_update(self):
        self.assertEqual(self.found({1: "b"}, write(0, 1, "a", OK, 1), write(2, 3, "b", OK, 1)), [WRONG])
        self.assertEqual(self.found({}, write(0, 1, "a", OK, 1)), [WRONG])

    def test_both_of_two_writers_with_the_same_cas(self):
        self.assertIn(WRONG, self.found({1: "a", 2: "b"}, write(0, 5, "a", OK, 1, 0), write(1, 6, "b", OK, 2, 0)))

    def test_applied_twice(self):
        self.assertEqual(self.found({1: "a", 2: "a"}, write(0, 1, "a", OK, 1)), [WRONG])
        self.assertEqual(self.found({1: "a", 2: "b", 3: "a"}, write(0, 1, "a", UNKNOWN), write(0, 1, "b", OK, 2)), [WRONG])

    def test_refused_and_done_all_the_same(self):
        self.assertEqual(self.found({1: "a"}, write(0, 1, "a", REFUSED, cas=0)), [WRONG])
        self.assertEqual(self.found({1: "a"}, write(0, 1, "a", FAILED)), [WRONG])

    def test_without_an_answer_and_done_late(self):
        self.assertEqual(self.found({1: "b", 2: "a"}, write(0, 1, "a", UNKNOWN), read(2, 3, 0), write(4, 5, "b", OK, 1),
                                    read(6, 7, 1, "b"), read(8, 9, 2, "a")), [])

    def test_without_an_answer_and_never_done(self):
        self.assertEqual(self.found({}, write(0, 1, "a", UNKNOWN), read(2, 3, 0)), [])

    def test_without_an_answer_and_seen_then_gone(self):
        self.assertEqual(self.found({1: "a"}, write(0, 1, "a", UNKNOWN), read(2, 3, 1, "a"), read(4, 5, 0)), [STALE])
        self.assertEqual(self.found({}, write(0, 1, "a", UNKNOWN), read(2, 3, 1, "a")), [WRONG])

    def test_done_before_it_was_asked(self):
        self.assertEqual(self.found({1: "a"}, read(0, 1, 1, "a"), write(2, 3, "a", OK, 1)), [WRONG])

    def test_in_the_wrong_order(self):
        self.assertEqual(self.found({1: "b", 2: "a"}, write(0, 1, "a", OK, 2), write(2, 3, "b", OK, 1)), [WRONG])

    def test_a_gap(self):
        self.assertIn(WRONG, self.found({1: "a", 3: "c"}, write(0, 1, "a", OK, 1), write(2, 3, "c", OK, 3)))

    def test_what_nobody_wrote(self):
        self.assertEqual(self.found({1: "x"}), [WRONG])

    def test_refused_by_cas(self):
        done = write(0, 1, "a", OK, 1), write(6, 7, "b", OK, 2)
        self.assertEqual(self.found({1: "a", 2: "b"}, *done, write(2, 3, "x", REFUSED, cas=0)), [])
        self.assertEqual(self.found({1: "a", 2: "b"}, *done, write(2, 3, "x", REFUSED, cas=2)), [])
        self.assertEqual(self.found({1: "a", 2: "b"}, *done, write(2, 3, "x", REFUSED, cas=1), read(4, 5, 1, "a")), [STALE])
        self.assertEqual(self.found({1: "a", 2: "b"}, *done, write(2, 8, "x", REFUSED, cas=1)), [])
        # Version 2 may be there before its write is answered.
        self.assertEqual(self.found({1: "a", 2: "b"}, done[0], write(1.5, 7, "b", OK, 2), write(2, 3, "x", REFUSED, cas=1)), [])
        self.assertEqual(self.found({1: "a", 2: "b"}, done[0], write(1.5, 7, "b", OK, 2), write(2, 3, "x", REFUSED, cas=1),
                                    read(4, 5, 1, "a")), [STALE])

    def test_two_refusals_that_exclude_each_other(self):
        self.assertEqual(self.found({1: "a", 2: "b"}, write(0, 1, "a", OK, 1), write(2, 20, "b", OK, 2),
                                    write(3, 4, "x", REFUSED, cas=1), write(5, 6, "y", REFUSED, cas=2)), [STALE])
        self.assertEqual(self.found({1: "a", 2: "b"}, write(0, 1, "a", OK, 1), write(2, 20, "b", OK, 2),
                                    write(3, 4, "x", REFUSED, cas=2), write(5, 6, "y", REFUSED, cas=1)), [])


def by_search(ops, stored):
    """Whether some order of the requests explains them all: every order is tried."""
    must = [op for op in ops if op.outcome in (OK, REFUSED)]
    may = [op for op in ops if op.outcome == UNKNOWN]
    for some in itertools.chain.from_iterable(itertools.combinations(may, n) for n in range(len(may) + 1)):
        if _explained([*must, *some], [], stored):
            return True
    return False


def _explained(left, values, stored):
    if not left:
        return {n + 1: value for n, value in enumerate(values)} == stored
    first_end = min(op.end for op in left)
    for op in left:
        if op.start > first_end:
            continue
        rest = [o for o in left if o is not op]
        if op.kind == "read":
            if op.version == len(values) and op.value == (values[-1] if values else ""):
                if _explained(rest, values, stored):
                    return True
        elif op.outcome == REFUSED:
            if op.cas != len(values) and _explained(rest, values, stored):
                return True
        elif op.cas in (None, len(values)) and op.version in (None, len(values) + 1):
            if _explained(rest, [*values, op.value], stored):
                return True
    return False


class AgainstSearch(unittest.TestCase):
    """Small histories at random, mostly almost right: the checker and a search through all orders say the same."""

    def test_random_histories(self):
        rng, verdicts = random.Random(1), {True: 0, False: 0}
        for _ in range(12000):
            ops, stored = self.history(rng)
            verdict = by_search(ops, stored)
            verdicts[verdict] += 1
            violations = check_key(ops, stored)
            self.assertEqual(verdict, not violations, "\n".join(map(str, [stored, *ops, *violations])))
        self.assertGreater(min(verdicts.values()), 500, verdicts)

    @staticmethod
    def history(rng):
        """Requests with points in time at which they really take effect, and then perhaps a lie."""
        moments = sorted(rng.sample(range(1000), rng.randint(2, 7)))
        ops, stored = [], {}
        for number, moment in enumerate(moments):
            start, end = moment - rng.randint(1, 300), moment + rng.randint(1, 300)
            value, current = f"v{number}", len(stored)
            if rng.random() < 0.4:
                ops.append(read(start, end, current, stored.get(current, "")))
                continue
            cas = rng.choice([None, current, max(0, current + rng.choice([-1, 1]))])
            outcome = UNKNOWN if rng.random() < 0.25 else OK
            if cas not in (None, current):
                ops.append(write(start, end, value, REFUSED if outcome == OK else UNKNOWN, cas=cas))
            elif outcome == UNKNOWN and rng.random() < 0.5:
                ops.append(write(start, end, value, UNKNOWN, cas=cas))
            else:
                stored[current + 1] = value
                ops.append(write(start, end, value, outcome, current + 1 if outcome == OK else None, cas))
        if rng.random() < 0.5:
            victim = rng.choice(ops)
            if victim.kind == "read":
                victim.version = rng.randint(0, len(stored))
                victim.value = stored.get(victim.version, "")
            elif victim.outcome == REFUSED:
                victim.cas = rng.randint(0, len(stored))
            elif victim.outcome == OK:
                shift = rng.choice([-300, 300])
                victim.start, victim.end = victim.start + shift, victim.end + shift
        return numbered(*ops), stored


class ThePatient(unittest.TestCase):
    """Patient clients write on while they are checked."""

    def setUp(self):
        self.client = SimpleNamespace(name="patient", node=SimpleNamespace(name="node1"), acknowledged=["1"], slowest=(0.1, 0))
        self.listed = ["1"]
        self.leader = SimpleNamespace(http=lambda: self)

    def list(self, _path):
        """The leader's answer; by the time it is there, one more write has been acknowledged."""
        self.client.acknowledged.append("2")
        return SimpleNamespace(data={"keys": self.listed})

    def test_what_was_acknowledged_after_the_look_is_not_lost(self):
        self.assertEqual([], check_patient([self.client], self.leader, 20))

    def test_what_was_acknowledged_before_it_is_lost_where_it_is_missing(self):
        self.listed = []
        self.assertEqual([WRONG], [violation.kind for violation in check_patient([self.client], self.leader, 20)])


if __name__ == "__main__":
    unittest.main()
