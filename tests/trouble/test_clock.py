"""A node whose clock is an hour off."""

import time
import unittest

from support import harness
from clocks import Clocked, library
from cluster import Cluster, wait_for

HOUR_S = 3600


class ClockedCluster(Cluster):
    node_class = Clocked


@unittest.skipUnless(library(), "needs libfaketime (scripts/install-test-deps)")
class ClockOfAFollower(unittest.TestCase):
    def setUp(self):
        self.cluster = ClockedCluster(3)
        self.addCleanup(self.cluster.remove)
        self.leader, self.node = self.cluster.leader(), self.cluster.standbys()[0]
        self.root = self.leader.http()
        self.root.expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        self.root.expect(204, "POST", "kv/kept", {"value": "kept"})

    def new_token(self, **options):
        """A token for half an hour that may read everything."""
        self.root.expect(204, "POST", "sys/policies/acl/reads", {"policy": 'path "*" { capabilities = ["read", "list", "update"] }'})
        body = {"ttl": "30m", "policies": ["reads"], **options}
        made = self.root.expect(200, "POST", "auth/token/create", body).json["auth"]
        # From here on the standby has it, too.
        wait_for("the token on all", lambda: self.node.http(made["client_token"]).get("auth/token/lookup-self").status == 200)
        return made

    def set_clock(self, seconds):
        self.node.set_clock(seconds)
        wait_for("another time", lambda: abs(self.node.http().get("sys/health").json["server_time_utc"] - time.time() - seconds) < 60)

    def test_nothing_ends_early(self):
        service, batch = self.new_token(), self.new_token(type="batch")
        wrapped = self.root.get("kv/kept", headers={"X-Vault-Wrap-TTL": "30m"}).json["wrap_info"]["token"]
        for hours in (1, -1):
            self.set_clock(hours * HOUR_S)
            with self.subTest(hours=hours):
                for made in (service, batch):
                    token = made["client_token"]
                    mine, other = self.node.http(token), self.node.http()
                    self.assertEqual(mine.get("kv/kept").data, {"value": "kept"})
                    self.assertEqual(mine.get("auth/token/lookup-self").status, 200)
                    self.assertEqual(other.post("auth/token/lookup", {"token": token}).status, 200)
                    self.assertNotEqual(other.post("sys/capabilities", {"token": token, "path": "kv/kept"}).data["capabilities"], ["deny"])
                accessor = {"accessor": service["accessor"]}
                self.assertEqual(self.node.http().post("auth/token/lookup-accessor", accessor).status, 200)
                self.assertEqual(self.node.http("").post("sys/wrapping/lookup", {"token": wrapped}).status, 200)
                self.assertEqual(self.node.http().post("kv/through", {"value": str(hours)}).status, 204)
        self.assertEqual(self.cluster.leader(), self.leader)
        self.assertEqual(self.leader.http().post("auth/token/lookup", {"token": service["client_token"]}).status, 200)
        self.assertEqual(self.node.http().post("sys/wrapping/unwrap", {"token": wrapped}).data, {"value": "kept"})

    def test_a_node_with_a_wrong_clock_comes_back(self):
        """Certificates between the nodes that were made a moment ago are not from the future for it."""
        for hours in (1, -1):
            with self.subTest(hours=hours):
                self.set_clock(hours * HOUR_S)
                self.node.kill()
                self.node.start()
                self.cluster.unseal(self.node)
                self.root.expect(204, "POST", "kv/kept", {"value": str(hours)})
                wait_for("the newest data", lambda: self.node.http().get("kv/kept").data == {"value": str(hours)})  # noqa: B023


class ClockOfTheLeader(unittest.TestCase):
    @unittest.skipUnless(library(), "needs libfaketime (scripts/install-test-deps)")
    def test_what_it_says_is_so(self):
        """Its clock decides: forward, what would have ended by then ends; back, it lives longer by the jump."""
        server = Clocked.temporary()
        self.addCleanup(server.remove)
        server.ready()
        root = server.http()
        short = root.post("auth/token/create", {"ttl": "30m"}).json["auth"]["client_token"]
        long = root.post("auth/token/create", {"ttl": "3h"}).json["auth"]["client_token"]
        server.set_clock(-HOUR_S)
        wait_for("an earlier time", lambda: root.get("sys/health").json["server_time_utc"] < time.time() - HOUR_S / 2)
        self.assertEqual(server.http(short).get("auth/token/lookup-self").status, 200)
        server.set_clock(HOUR_S)
        wait_for("the end of a token", lambda: server.http(short).get("auth/token/lookup-self").status == 403)
        self.assertEqual(server.http(long).get("auth/token/lookup-self").status, 200)
        self.assertEqual(root.get("sys/health").status, 200)
        self.assertNotIn("panicked", server.last_log(1000))
