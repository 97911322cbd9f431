"""Clients that work while things go wrong, through all nodes, and write down what they were told."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from history import FAILED, OK, REFUSED, UNKNOWN
from nodes import harness

#: How long a client waits before it gives up; the impatient ones go on elsewhere while a node does not answer.
PATIENCE_S = 2.5
KEY_PATIENCE_S = (0.3, 0.8, 2.5, 0.3, 0.8)
KEYS = 3
USES = 3
#: Answers with a status of 5xx that say that nothing was done.
NOTHING_DONE = ("Vault is sealed", "local node not active but active cluster node not found", "no space left for storage",
                "this node is not the leader")
NEWEST = {"X-Vault-Forward": "active-node"}
BROKEN = (OSError, harness.http.client.HTTPException)


def outcome_of(reply):
    """What an answer says about the effect: as its status says, and 5xx only where its text does."""
    if reply.status < 300:
        return OK
    if reply.status < 500:
        return REFUSED
    return FAILED if any(text in reply.text for text in NOTHING_DONE) else UNKNOWN


def brief(reply):
    return f"{reply.status} {'; '.join(reply.errors or [])}".strip()


class Connections:
    """A thread's connections to all nodes; one that broke is made anew."""

    def __init__(self, nodes, timeout_s=PATIENCE_S):
        self.http = {node.name: node.http(timeout_s=timeout_s) for node in nodes}

    def ask(self, op, method, path, body=None, **more):
        """Sends `op`'s request and notes the outcome. Answers the reply; None where there is none."""
        try:
            reply = self.http[op.node].request(method, path, body, **more)
        except BROKEN as error:
            # What was never sent has no effect.
            unsent = isinstance(error, ConnectionRefusedError)
            op.history.finish(op, FAILED if unsent else UNKNOWN, note=type(error).__name__)
            return None
        op.reply = reply
        return reply

    def close(self):
        for connection in self.http.values():
            connection.close()


class Client(threading.Thread):
    """Does `turn` until it is stopped."""

    def __init__(self, work, number, patience_s=PATIENCE_S):
        super().__init__(daemon=True, name=f"{type(self).__name__}-{number}")
        self.work, self.history, self.number = work, work.history, number
        self.rng = random.Random(f"{work.seed}/{self.name}")
        self.connections = Connections(work.nodes, patience_s)
        self.trouble = None

    def run(self):
        try:
            while not self.work.done.is_set():
                self.turn()
        except Exception as error:  # noqa: BLE001 - told by the round, which fails
            self.trouble = error
        finally:
            self.connections.close()

    def begin(self, kind, **more):
        node = more.pop("node", None) or self.rng.choice(self.work.nodes).name
        op = self.history.begin(kind, node=node, **more)
        op.history = self.history
        return op

    def rest(self, least, most):
        self.work.done.wait(self.rng.uniform(least, most))

    def finish(self, op, reply, outcome=None, **more):
        self.history.finish(op, outcome or outcome_of(reply), note=brief(reply) if reply.status >= 300 else "", **more)


class KeyClient(Client):
    """Reads and writes a few keys; most writes are bound to the version that this client saw last."""

    def __init__(self, work, number):
        super().__init__(work, number, KEY_PATIENCE_S[number])
        self.seen, self.count = dict.fromkeys(work.keys, 0), 0
        self.writes = number < 3

    def turn(self):
        key = self.rng.choice(self.work.keys)
        if self.writes and self.rng.random() < 0.5:
            self.write(key)
        else:
            self.read(key)
        self.rest(0.002, 0.04)

    def read(self, key):
        op = self.begin("read", key=key)
        op.active = self.work.watch.is_active(op.node)
        reply = self.connections.ask(op, "GET", f"secret/data/{key}", headers=NEWEST)
        if reply is None:
            return
        if reply.status == 200:
            version, value = reply.data["metadata"]["version"], reply.data["data"]["v"]
            self.finish(op, reply, version=version, value=value)
            self.seen[key] = max(version, self.seen[key])
        elif reply.status == 404:
            self.finish(op, reply, OK, version=0)
        else:
            self.finish(op, reply, FAILED)

    def write(self, key):
        self.count += 1
        value = f"{self.name}/{self.count}"
        cas = self.seen[key] if self.rng.random() < 0.75 else None
        op = self.begin("write", key=key, value=value, cas=cas)
        body = {"data": {"v": value}, **({} if cas is None else {"options": {"cas": cas}})}
        reply = self.connections.ask(op, "POST", f"secret/data/{key}", body)
        if reply is None:
            return
        if reply.status == 200:
            self.finish(op, reply, version=reply.data["version"])
            self.seen[key] = max(reply.data["version"], self.seen[key])
        elif reply.status == 400 and "check-and-set" in reply.text:
            self.finish(op, reply, REFUSED)
            self.read(key)
        else:
            self.finish(op, reply, FAILED if outcome_of(reply) == REFUSED else None)


class TokenClient(Client):
    """Makes tokens, looks some up, revokes some, and asks the active node about what was revoked."""

    def turn(self):
        name = f"{self.work.name}-{self.number}-{self.rng.randrange(1 << 40):x}"
        op = self.begin("create-token", key=name)
        reply = self.connections.ask(op, "POST", "auth/token/create", {
            "policies": ["default"], "ttl": "2h", "no_parent": True, "display_name": name, "meta": {"op": name}})
        if reply is not None:
            self.finish(op, reply)
        if op.outcome == OK:
            op.token = reply.json["auth"]["client_token"]
            self.look_up(op)
            if self.rng.random() < 0.6:
                self.revoke(op)
        self.rest(0.02, 0.1)

    def revoke(self, created):
        op = self.begin("revoke-token", key=created.key)
        op.token = created.token
        reply = self.connections.ask(op, "POST", "auth/token/revoke", {"token": created.token})
        if reply is not None:
            self.finish(op, reply)
        self.look_up(created)

    def look_up(self, created):
        op = self.begin("look-up-token", key=created.key)
        op.active = self.work.watch.is_active(op.node)
        reply = self.connections.ask(op, "GET", "auth/token/lookup-self", token=created.token, headers=NEWEST)
        if reply is not None:
            self.finish(op, reply, {200: OK, 403: REFUSED}.get(reply.status, FAILED))


class SecretIdClient(Client):
    """Has a secret id wrapped, lets several unwrap it at once, and logs in with it more often than it may be used."""

    def __init__(self, work, number):
        super().__init__(work, number)
        # Whoever unwraps and logs in does so at the same time as others, over connections of its own.
        self.pool = ThreadPoolExecutor(3, initializer=self._equip)
        self.local = threading.local()

    def _equip(self):
        self.local.connections = Connections(self.work.nodes)

    def run(self):
        super().run()
        self.pool.shutdown()

    def turn(self):
        name = f"{self.number}-{self.rng.randrange(1 << 40):x}"
        op = self.begin("make-secret-id", key=name)
        reply = self.connections.ask(op, "POST", f"auth/approle/role/{self.work.role}/secret-id",
                                     {"metadata": f'{{"op":"{name}"}}'}, headers={"X-Vault-Wrap-TTL": "10m"})
        if reply is not None:
            self.finish(op, reply)
        if op.outcome != OK:
            return self.rest(0.05, 0.2)
        op.token = reply.json["wrap_info"]["token"]
        nodes = [self.rng.choice(self.work.nodes).name for _ in range(8)]
        list(self.pool.map(lambda node: self.unwrap(op, node), nodes[:3]))
        if getattr(op, "secret_id", None):
            list(self.pool.map(lambda node: self.login(op, node), nodes[3:]))
        self.rest(0.05, 0.2)
        return None

    def unwrap(self, made, node):
        op = self.begin("unwrap", key=made.key, node=node)
        unwrap(self.local.connections, op, made)

    def login(self, made, node):
        op = self.begin("login", key=made.key, node=node)
        login(self.local.connections, op, made, self.work)


def unwrap(connections, op, made):
    reply = connections.ask(op, "POST", "sys/wrapping/unwrap", token=made.token)
    if reply is None:
        return
    if reply.status == 200:
        made.secret_id = reply.data["secret_id"]
    op.history.finish(op, outcome_of(reply), note=brief(reply) if reply.status >= 300 else "")


def login(connections, op, made, work):
    reply = connections.ask(op, "POST", "auth/approle/login", {"role_id": work.role_id, "secret_id": made.secret_id}, token="")
    if reply is not None:
        op.history.finish(op, outcome_of(reply), note=brief(reply) if reply.status >= 300 else "")


class Work:
    """All clients of a round."""

    def __init__(self, nodes, watch, history, name, seed, role):
        self.nodes, self.watch, self.history, self.name, self.seed = nodes, watch, history, name, seed
        self.role, self.role_id = role
        self.keys = [f"{name}/k{number}" for number in range(KEYS)]
        self.done = threading.Event()
        self.clients = [*(KeyClient(self, n) for n in range(len(KEY_PATIENCE_S))), *(TokenClient(self, n) for n in range(2)),
                        *(SecretIdClient(self, n) for n in range(2))]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        self.done.set()
        for client in self.clients:
            client.join(60)
            if client.is_alive():
                raise harness.ServerError(f"{client.name} does not end")
            if client.trouble:
                raise client.trouble


class Patient(threading.Thread):
    """Writes through one node all the time and waits as long as it takes: nothing may be left without an answer."""

    def __init__(self, node):
        super().__init__(daemon=True, name=f"patient-{node.name}")
        self.node, self.done, self.number = node, threading.Event(), 0
        #: (seconds, when it began) of the slowest request; what was acknowledged.
        self.slowest, self.acknowledged = (0.0, 0.0), []

    def run(self):
        connection = self.node.http(timeout_s=60)
        while not self.done.wait(0.2):
            self.number += 1
            began = time.monotonic()
            try:
                reply = connection.post(f"secret/data/patient/{self.node.name}/{self.number}", {"data": {"n": self.number}})
                if reply.status == 200:
                    self.acknowledged.append(str(self.number))
            except BROKEN:
                pass
            self.slowest = max(self.slowest, (time.monotonic() - began, began))

    def stop(self):
        self.done.set()
        self.join(90)
