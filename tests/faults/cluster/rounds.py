"""Round after round: work, a fault, healing, and what must be true then."""

import json
import random
import time
import traceback
from pathlib import Path

import faults as catalogue
import network
import verify
from checker import STALE, WRONG, Violation
from clients import USES, Patient, Work
from history import History
from nodes import Etcd, Nodes, Postgresql, Sharing, Watch, harness, new_directory

#: No request may take longer than the ten seconds that a standby looks for an active node, and a fault's time.
LONGEST_REQUEST_S = 20


class Failed(Exception):
    """A round with violations."""


class Run:
    """A cluster and what is done to it."""

    def __init__(self, options, say):
        self.options, self.say = options, say
        self.directory = Path(new_directory())
        shared = {"raft": None, "postgresql": Postgresql, "etcd": Etcd}[options.storage]
        living = options.nodes + bool(shared)
        way = network.Bridge(living) if network.is_isolated() else network.Loopback()
        if shared:
            database = shared(**way.place_of_database())
            self.nodes = Sharing(options.nodes, options.server, way, self.directory, database)
        else:
            self.nodes = Nodes(options.nodes, options.server, way, self.directory)
        self.stale, self.slowest, self.times, self.requests = [], {}, [], {}
        self.fault_times = {}

    def prepare(self):
        self.nodes.begin()
        root = self.nodes.leader().http()
        root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        root.expect(204, "POST", "secret/config", {"max_versions": 10_000})
        root.expect(204, "POST", "sys/auth/approle", {"type": "approle"})
        root.expect(204, "POST", "auth/approle/role/r", {"secret_id_num_uses": USES, "token_ttl": "5m", "token_policies": "default"})
        role_id = root.get("auth/approle/role/r/role-id").data["role_id"]
        self.role = ("r", role_id)
        self.watch = Watch(self.nodes.nodes)
        self.logs, self.accessors = verify.Logs(self.nodes.nodes), verify.Accessors()
        self.patient = [Patient(node) for node in self.nodes.nodes]
        for client in self.patient:
            client.start()
        self.nodes.settle("begin")

    def faults(self):
        found = catalogue.available(self.nodes, self.say)
        names = self.options.only
        if names:
            found = [fault for fault in found if fault.__name__ in names]
            if not found:
                raise harness.ServerError(f"no such fault: {', '.join(names)}")
        return found

    def rounds(self):
        """The number of each round, its fault, and what is drawn for it, until there are enough."""
        faults, began = self.faults(), time.monotonic()
        options, turn = self.options, 1 if self.options.cut_short else len(faults)
        for number, (make_fault, drawn) in enumerate(catalogue.schedule(faults, options.seed), 1):
            over = options.seconds is not None and time.monotonic() - began > options.seconds
            if (options.rounds and number > options.rounds) or (over and number > turn):
                break
            yield number, make_fault, drawn
        left_out = sorted({fault.__name__ for fault in faults} - set(self.fault_times))
        if left_out:
            self.say(f"had no turn: {', '.join(left_out)}")

    def round(self, number, make_fault, drawn):
        began, name = time.monotonic(), make_fault.__name__
        history = History()
        fault = catalogue.Fault(self.nodes, random.Random(drawn))
        work = Work(self.nodes.nodes, self.watch, history, f"r{number}", f"{self.options.seed}/{number}", self.role)
        violations, steps = [], {}
        try:
            work.start()
            time.sleep(0.3)
            make_fault(fault)
            fault.end()
            fault.hold(0.2)
        except harness.ServerError as error:
            violations.append(Violation(WRONG, f"while it went wrong: {error}"))
        finally:
            self.heal()
        try:
            healed = time.monotonic()
            work.stop()
            stopped = time.monotonic()
            steps = {"work": round(stopped - healed, 2), **self.nodes.settle(f"r{number}")}
            violations += self.check(work, name)
        except harness.ServerError as error:
            violations.append(Violation(WRONG, f"after all was well again: {error}"))
        took = time.monotonic() - began
        self.tell(number, name, fault, history, steps, took)
        self.judge(number, name, drawn, history, violations)

    def heal(self):
        self.nodes.network.heal()
        if self.nodes.database:
            self.nodes.database.resume()
        for node in self.nodes.nodes:
            node.resume()
            node.make_room()
            node.set_clock(0)

    def check(self, work, name):
        leader = self.nodes.leader()
        return [
            *verify.check_keys(self.nodes.nodes, work, self.watch),
            *verify.check_secret_ids(self.nodes.nodes, work, leader),
            *verify.check_tokens(self.nodes.nodes, work, self.watch),
            *self.accessors.check(leader, work),
            *verify.check_root_token(work),
            *verify.check_patient(self.patient, leader, LONGEST_REQUEST_S),
            *self.logs.check(name),
        ]

    def tell(self, number, name, fault, history, steps, took):
        counts = {}
        for op in history.ops:
            counts[op.outcome] = counts.get(op.outcome, 0) + 1
        told = "; ".join(fault.told)
        self.times.append(took)
        self.fault_times.setdefault(name, []).append(took)
        for step, seconds in steps.items():
            self.slowest[step] = max(self.slowest.get(step, (0, 0)), (seconds, number))
        for outcome, count in counts.items():
            self.requests[outcome] = self.requests.get(outcome, 0) + count
        self.say(f"round {number:3} {name}: {told}: {counts}, well again {steps} ({took:.1f} s)")

    def judge(self, number, name, drawn, history, violations):
        stale = [violation for violation in violations if violation.kind == STALE]
        wrong = [violation for violation in violations if violation.kind != STALE]
        self.stale += [(number, name, violation) for violation in stale]
        if wrong or (stale and not self.options.allow_stale_reads):
            report = {"seed": self.options.seed, "round": number, "fault": name, "drawn": drawn,
                      "violations": [f"{v.kind}: {v}" for v in violations], "leaders": self.watch.changes, "history": history.as_json()}
            (self.directory / f"round-{number}.json").write_text(json.dumps(report, indent=1))
            for violation in [*wrong, *stale][:5]:
                self.say(f"FAIL round {number}, {name}: {violation.kind}: {violation}")
            more = len(violations) - 5
            raise Failed(f"seed {self.options.seed}, round {number} ({name})" + (f", and {more} more" if more > 0 else ""))

    def close(self, keep):
        if hasattr(self, "watch"):
            self.watch.stop()
            for client in self.patient:
                client.done.set()
        if keep:
            self.nodes.keep()
            self.say(f"what the nodes had, their logs and the history: {self.directory}")
        else:
            self.nodes.remove()

    def summary(self):
        self.say(f"requests: {self.requests}; rounds took {sum(self.times) / len(self.times):.1f} s on average, "
                 f"{max(self.times):.1f} s at most")
        self.say("slowest until well again (s, round): " + ", ".join(f"{step} {at}" for step, at in self.slowest.items()))
        slowest = max((client.slowest for client in self.patient))
        self.say(f"the longest that a patient client waited for an answer: {slowest[0]:.1f} s")
        for text, count in sorted(self.logs.noted.items(), key=lambda item: -item[1])[:12]:
            self.say(f"logged {count} times: {text}")
        if self.stale:
            by_fault = {}
            for _, name, _ in self.stale:
                by_fault[name] = by_fault.get(name, 0) + 1
            self.say(f"stale reads on a deposed leader: {len(self.stale)} in {len({n for n, _, _ in self.stale})} rounds: {by_fault}")
            number, name, violation = self.stale[0]
            self.say(f"the first, in round {number} ({name}): {violation}")


def run(options, say):
    """All rounds; whether all went well."""
    began, passed, keep = time.monotonic(), 0, True
    running = Run(options, say)
    try:
        running.prepare()
        for number, make_fault, drawn in running.rounds():
            try:
                running.round(number, make_fault, drawn)
            except Failed as failed:
                say(f"failed: {failed}")
                break
            passed += 1
        else:
            keep = False
    except KeyboardInterrupt:
        # The only end that a run without end has when all is well.
        keep = bool(options.rounds)
        say("stopped")
    except Exception:  # noqa: BLE001 - the nodes and their data are kept, whatever it was
        say(traceback.format_exc())
    finally:
        if running.times:
            running.summary()
        running.close(keep)
    failed = 1 if keep else 0
    say(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    say(f"{passed} passed, {failed} failed")
    return not keep
