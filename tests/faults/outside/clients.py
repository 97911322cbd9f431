"""Clients that have users made outside, prolong them and give them back, through all nodes, and give up soon."""

import random
import threading

from nodes import harness

#: Clients give up while an act is under way, now and then: the act goes on without them.
PATIENCE_S = (0.4, 1.5, 5)
BROKEN = (OSError, harness.http.client.HTTPException)


class Client(threading.Thread):
    """Issues, renews, revokes, makes tokens that do, and changes the password, until it is stopped."""

    def __init__(self, nodes, seed, number):
        super().__init__(daemon=True, name=f"client-{number}")
        self.nodes, self.rng, self.done = nodes, random.Random(f"{seed}/{self.name}"), threading.Event()
        self.http = {node.name: node.http(timeout_s=PATIENCE_S[number % len(PATIENCE_S)]) for node in nodes}
        #: Leases of the root token's that nobody has asked to end, and ends that were acknowledged.
        self.held, self.ended = {}, set()
        self.counts, self.trouble = {}, None

    def run(self):
        turns = [(self.issue, 40), (self.renew, 15), (self.revoke, 15), (self.through_token, 15), (self.rotate, 10)]
        try:
            while not self.done.is_set():
                self.rng.choices([turn for turn, _ in turns], [often for _, often in turns])[0]()
                self.done.wait(self.rng.uniform(0.01, 0.15))
        except Exception as error:  # noqa: BLE001 - told at the end, which fails
            self.trouble = error

    def ask(self, what, method, path, body=None, **more):
        """The reply of some node; None where there is none."""
        try:
            reply = self.http[self.rng.choice(self.nodes).name].request(method, path, body, **more)
        except BROKEN:
            self._count(f"{what} unanswered")
            return None
        self._count(f"{what} {'done' if reply.status < 300 else self._refused(reply)}")
        return reply if reply.status < 300 else None

    @staticmethod
    def _refused(reply):
        """The status, and the text where it is none that faults are expected to have."""
        return reply.status if reply.status in (400, 502, 503) else f"{reply.status} {'; '.join(reply.errors or [])}".strip()

    def _count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def issue(self, token=None):
        role = "web" if token or self.rng.random() < 0.8 else "short"
        reply = self.ask("issue", "GET", f"db/creds/{role}", token=token)
        if reply is None:
            return
        lease_id = reply.json["lease_id"]
        if reply.data["username"] != lease_id:
            raise harness.ServerError(f"the user of {lease_id} is {reply.data['username']}")
        if role == "web" and token is None:
            self.held[lease_id] = reply.data["number"]

    def renew(self):
        if self.held:
            lease_id = self.rng.choice(list(self.held))
            self.ask("renew", "PUT", "sys/leases/renew", {"lease_id": lease_id, "increment": 3600})

    def revoke(self):
        if self.held:
            lease_id = self.rng.choice(list(self.held))
            # Whatever is answered, it may have ended.
            del self.held[lease_id]
            if self.ask("revoke", "PUT", "sys/leases/revoke", {"lease_id": lease_id}):
                self.ended.add(lease_id)

    def through_token(self):
        reply = self.ask("token", "POST", "auth/token/create", {"policies": ["all"], "ttl": "1h"})
        if reply is None:
            return
        token = reply.json["auth"]["client_token"]
        for _ in range(self.rng.randrange(1, 4)):
            self.issue(token)
        if self.rng.random() < 0.7:
            self.ask("revoke token", "POST", "auth/token/revoke", {"token": token})

    def rotate(self):
        self.ask("rotate", "POST", "db/rotate", {})
