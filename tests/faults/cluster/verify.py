"""What must be true when a round is over: of keys, tokens, secret ids and logs."""

import re
from concurrent.futures import ThreadPoolExecutor

import checker
from checker import STALE, WRONG, Violation
from clients import USES, Connections, login, unwrap
from history import FAILED, OK, REFUSED, UNKNOWN
from nodes import harness, wait_for

#: A leader that was deposed is one while another node is active, or was shortly before or after.
NEARBY_S = 5
#: Faults in which a node may not reach the database that it shares.
AWAY = ("restart_database", "pause_database", "cut_database_off", "lose_database", "cut_off", "cut_leader_off", "split",
        "split_and_kill", "one_way", "one_link", "flapping", "slow_link", "two_at_once")
#: Lines at level ERROR that faults explain.
EXPLAINED = {
    "no space left": ("full_disk", "full_disk_and_kill"),
    "out of space": ("full_disk", "full_disk_and_kill"),
    "No space left on device": ("full_disk", "full_disk_and_kill"),
    "background job failed": None,
    "this node is not the leader": None,
    "request failed": None,
    "could not be taken over": AWAY,
    "cannot show the others": AWAY,
    "no quorum": ("pause_database", "cut_database_off", "lose_database"),
}


def each_node(nodes, work):
    with ThreadPoolExecutor(len(nodes)) as pool:
        return dict(zip([node.name for node in nodes], pool.map(work, nodes)))


def versions_on(node, keys):
    """All that the node itself knows of the keys: version to value, by key."""
    connection, found = node.http(timeout_s=10), {}
    for key in keys:
        about = connection.get(f"secret/metadata/{key}")
        found[key] = {}
        for version in sorted(map(int, about.data["versions"])) if about.status == 200 else []:
            read = connection.expect(200, "GET", f"secret/data/{key}?version={version}")
            found[key][version] = read.data["data"]["v"]
        if about.status == 200 and about.data["current_version"] != max(found[key]):
            raise harness.ServerError(f"{key}: metadata says {about.data}")
    connection.close()
    return found


def same_on_all(nodes, look):
    """What `look` finds on the nodes, once that is the same on all; else the differing findings and True."""
    found = {}

    def agreed():
        found.update(each_node(nodes, look))
        return all(one == found[nodes[0].name] for one in found.values())

    try:
        # What had no answer may still take effect while this looks.
        wait_for("the same on all nodes", agreed, 10)
        return found, False
    except harness.ServerError:
        return found, True


def check_keys(nodes, work, watch):
    found, differs = same_on_all(nodes, lambda node: versions_on(node, work.keys))
    violations = []
    if differs:
        violations.append(Violation(WRONG, f"nodes differ: { {name: {k: max(v, default=0) for k, v in one.items()} for name, one in found.items()} }"))
    stored = found[nodes[0].name]
    for violation in checker.check(work.history.ops, stored):
        violations.append(explain(violation, watch))
    return violations


def explain(violation, watch):
    """Stale answers are of a deposed leader, or else there is no excuse for them."""
    if violation.kind == STALE:
        op = violation.ops[-1]
        active = watch.active_between(op.start - NEARBY_S, op.end + NEARBY_S)
        if active - {op.node} and (op.active is not False or len(active) > 1):
            violation.text += f" (asked of {op.node}; active about then: {', '.join(sorted(active))})"
        else:
            violation.kind = WRONG
            violation.text += f" (asked of {op.node}, and only {', '.join(sorted(active)) or 'nobody'} was active about then)"
    return violation


def check_tokens(nodes, work, watch):
    violations, created = [], [op for op in work.history.of("create-token") if op.outcome == OK]
    revoked = {}
    for op in work.history.of("revoke-token"):
        revoked[op.key] = op
        if op.outcome == REFUSED:
            violations.append(Violation(STALE if "40" in op.note else WRONG, f"a token that exists was not revoked: {op.note}", [op]))

    def works(node):
        connection = node.http(token="", timeout_s=10)
        return {op.key: connection.get("auth/token/lookup-self", token=op.token).status for op in created}

    found, differs = same_on_all(nodes, works)
    if differs:
        violations.append(Violation(WRONG, f"nodes differ in which tokens work: {found}"))
    by_key = {op.key: op for op in created}
    for key, status in found[nodes[0].name].items():
        end = revoked.get(key)
        if status not in (200, 403):
            violations.append(Violation(WRONG, f"looking a token up: {status}", [by_key[key]]))
        elif status == 403 and (end is None or end.outcome in (REFUSED, FAILED)):
            violations.append(Violation(WRONG, "an acknowledged token is lost", [by_key[key], *([end] if end else [])]))
        elif status == 200 and end is not None and end.outcome == OK:
            violations.append(Violation(WRONG, "a revoked token works", [by_key[key], end]))
    for op in work.history.of("look-up-token"):
        end, birth = revoked.get(op.key), by_key[op.key]
        if op.outcome == OK and end is not None and end.outcome == OK and end.end < op.start:
            violations.append(explain(Violation(STALE, "a token worked after it had been revoked", [end, op]), watch))
        if op.outcome == REFUSED and (end is None or op.end < end.start):
            violations.append(explain(Violation(STALE, "a token was refused after it had been made", [birth, op]), watch))
    return violations


class Accessors:
    """Looks the tokens up that are new since the last round: each request to make one made one at most."""

    def __init__(self):
        self.known = set()

    def check(self, leader, work):
        connection, counts = leader.http(timeout_s=10), {}
        listed = set(connection.expect(200, "LIST", "auth/token/accessors").data["keys"])
        for accessor in listed - self.known:
            about = connection.post("auth/token/lookup-accessor", {"accessor": accessor})
            name = ((about.data or {}).get("meta") or {}).get("op")
            counts[name] = counts.get(name, 0) + 1
        self.known = listed
        ops = {op.key: op for op in work.history.of("create-token")}
        violations = [Violation(WRONG, f"one request made {count} tokens", [ops[name]])
                      for name, count in counts.items() if name in ops and count > 1]
        violations += [Violation(WRONG, "a token was refused and made all the same", [ops[name]])
                       for name in counts if name in ops and ops[name].outcome in (REFUSED, FAILED)]
        return violations


def check_secret_ids(nodes, work, leader):
    """Finishes what was begun, now that all is well, and counts."""
    violations, connections = [], Connections(nodes, timeout_s=10)
    ops = {"unwrap": {}, "login": {}}
    for op in work.history.ops:
        if op.kind in ops:
            ops[op.kind].setdefault(op.key, []).append(op)

    def more(kind, made, ask):
        op = work.history.begin(kind, key=made.key, node=leader.name)
        op.history = work.history
        ask(op)
        ops[kind].setdefault(made.key, []).append(op)
        return op

    for made in work.history.of("make-secret-id"):
        if made.outcome != OK:
            continue
        more("unwrap", made, lambda op: unwrap(connections, op, made))  # noqa: B023
        tried = ops["unwrap"][made.key]
        done, open_ = _count(tried)
        if done > 1:
            violations.append(Violation(WRONG, f"unwrapped {done} times", [made, *tried]))
        if done + open_ == 0:
            violations.append(Violation(WRONG, "never unwrapped, though nobody else can have done it", [made, *tried]))
        if not getattr(made, "secret_id", None):
            continue
        for _ in range(USES + 1):
            if more("login", made, lambda op: login(connections, op, made, work)).outcome != OK:  # noqa: B023
                break
        tried = ops["login"][made.key]
        done, open_ = _count(tried)
        if done > USES:
            violations.append(Violation(WRONG, f"used {done} times of {USES}", [made, *tried]))
        if done + open_ < USES:
            violations.append(Violation(WRONG, f"used up after {done} uses of {USES} ({open_} without an answer)", [made, *tried]))
    connections.close()
    return violations


def _count(ops):
    return sum(op.outcome == OK for op in ops), sum(op.outcome == UNKNOWN for op in ops)


def check_root_token(work):
    """The root token is known to all nodes that serve."""
    kinds = {"read", "write", "create-token", "make-secret-id", "revoke-token"}
    return [Violation(WRONG, "the root token was refused", [op])
            for op in work.history.ops if op.kind in kinds and op.note.startswith("403")]


class Logs:
    """The part of the servers' logs that is of this round."""

    def __init__(self, nodes):
        self.nodes, self.at = nodes, dict.fromkeys([node.name for node in nodes], 0)
        #: Lines at ERROR that a fault explains, and at WARN: how often, without what differs.
        self.noted = {}

    def check(self, fault):
        violations = []
        for node in self.nodes:
            with node.log.open("rb") as log:
                log.seek(self.at[node.name])
                lines = log.read().decode(errors="replace").splitlines()
                self.at[node.name] = log.tell()
            for line in lines:
                if "panicked" in line:
                    violations.append(Violation(WRONG, f"{node.name} panicked: {line}"))
                elif re.search(r"\bERROR\b", line) and not self._explained(line, fault):
                    violations.append(Violation(WRONG, f"{node.name} logged: {line}"))
                elif re.search(r"\b(ERROR|WARN)\b", line):
                    self._note(line)
        return violations

    @staticmethod
    def _explained(line, fault):
        return any(text in line and (faults is None or fault in faults) for text, faults in EXPLAINED.items())

    def _note(self, line):
        text = re.sub(r"\x1b\[[0-9;]*m", "", line)
        text = re.sub(r"^\S+\s+", "", text)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|secret/data/\S+|\d+(\.\d+)*", "…", text)[:160]
        self.noted[text] = self.noted.get(text, 0) + 1


def check_patient(clients, leader, limit_s):
    violations = []
    for client in clients:
        # They go on writing: what is acknowledged from here on need not be listed.
        acknowledged = set(client.acknowledged)
        listed = leader.http().list(f"secret/metadata/patient/{client.node.name}").data["keys"]
        lost = sorted(acknowledged - set(listed))
        if lost:
            violations.append(Violation(WRONG, f"{client.name}: acknowledged and lost: {lost}"))
        if client.slowest[0] > limit_s:
            violations.append(Violation(WRONG, f"{client.name}: a request took {client.slowest[0]:.1f} s"))
    return violations


