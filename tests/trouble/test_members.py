"""What a node knows of its cluster: after a restart, under another address, after days."""

import itertools
import unittest

from support import harness
from clocks import Clocked, library
from cluster import Cluster, status, wait_for

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class AfterARestart(unittest.TestCase):
    """What was done without a node it does not know, and so does not answer before it has heard of it."""

    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.remove)
        root = self.cluster.leader().http()
        root.expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        root.expect(204, "POST", "sys/policies/acl/reads", {"policy": 'path "kv/*" { capabilities = ["read"] }'})

    def stop(self, nodes):
        for node in nodes:
            if node.is_running():
                node.kill()

    def start(self, nodes):
        for node in nodes:
            node.start()
            self.cluster.unseal(node)

    def assert_answers_no_read(self, node, token):
        """From its first answer on, and for longer than an election takes."""
        self.assertEqual(status(node, "sys/health"), 474, node.node_id)
        told = node.http(token, timeout_s=30).get("kv/deleted")
        self.assertNotEqual(told.status, 200, node.node_id)
        self.assertEqual(status(node, "sys/health"), 474, node.node_id)

    def test_every_subset_is_restarted_after_what_was_done_without_it(self):
        nodes = self.cluster.nodes
        for size in (1, 2, 3):
            for subset in itertools.combinations(nodes, size):
                with self.subTest(nodes=[node.node_id for node in subset]):
                    root = self.cluster.leader().http()
                    root.expect(204, "POST", "kv/deleted", {"v": 1})
                    made = root.expect(200, "POST", "auth/token/create", {"policies": ["reads"]})
                    token = made.json["auth"]["client_token"]
                    index = {"X-Vault-Index": made.headers["x-vault-index"]}
                    for node in nodes:
                        self.assertEqual(node.http(token).get("kv/deleted", headers=index).status, 200)
                    self.stop(subset)
                    rest = [node for node in nodes if node not in subset]
                    if len(rest) == 2:
                        root = self.cluster.leader(rest).http()
                        root.expect(204, "POST", "auth/token/revoke", {"token": token})
                        root.expect(204, "DELETE", "kv/deleted")
                    self.stop(rest)
                    if size == 1:
                        self.start(subset)
                        self.assert_answers_no_read(subset[0], token)
                        self.start(rest)
                        for node in nodes:
                            wait_for("its cluster", lambda: status(node, "sys/health") in (200, 429))  # noqa: B023
                            self.assertEqual(node.http(token).get("kv/deleted").status, 403, node.node_id)
                    else:
                        # Two have a majority, and the last one what they may have missed; whatever the order is.
                        self.start(reversed(subset))
                        self.start(rest)
                    self.cluster.wait_voters(3)

    def test_a_node_that_was_removed_knows_it(self):
        removed, kept = self.cluster.standbys()
        leader = self.cluster.leader()
        leader.http().expect(204, "POST", "sys/storage/raft/remove-peer", {"server_id": removed.node_id})
        wait_for("word of the removal", lambda: status(removed, "sys/health") == 530)
        for alone in (False, True):
            removed.kill()
            if alone:
                self.stop((leader, kept))
            removed.start()
            self.assertEqual(status(removed, "sys/health"), 530, "from its first answer on")
            told = removed.http(token="").put("sys/unseal", {"key": removed.shares[0]})
            self.assertEqual((told.status, "removed from its cluster" in told.text), (500, True))

    def test_a_node_that_was_removed_while_it_was_off(self):
        removed = self.cluster.standbys()[0]
        removed.kill()
        leader = self.cluster.leader()
        leader.http().expect(204, "POST", "kv/later", {"v": 1})
        leader.http().expect(204, "POST", "sys/storage/raft/remove-peer", {"server_id": removed.node_id})
        removed.start()
        self.cluster.unseal(removed)
        self.assertIn(status(removed, "sys/health"), (474, 530))
        self.assertIn(removed.http(timeout_s=30).get("kv/later").status, (500, 503))
        wait_for("word of the removal", lambda: status(removed, "sys/health") == 530)


class AnotherAddress(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.remove)

    def move(self, node):
        node.kill()
        node.cluster_port = harness.free_ports(1)[0]
        node._write_config()
        node.start()

    def addresses(self):
        return {peer["node_id"]: peer["address"] for peer in self.cluster.peers()}

    def is_known(self, node):
        return self.addresses()[node.node_id].endswith(f":{node.cluster_port}")

    def policy_at(self, node):
        return (node.http().get("sys/policies/acl/moved").data or {}).get("policy")

    def test_a_node_that_has_moved_says_so(self):
        for node, sealed in zip(self.cluster.standbys(), (False, True)):
            with self.subTest(sealed=sealed):
                self.move(node)
                if not sealed:
                    self.cluster.unseal(node)
                wait_for("its new address", lambda: self.is_known(node))  # noqa: B023
                if sealed:
                    self.cluster.unseal(node)
                wait_for("a standby", lambda: status(node, "sys/health") in (200, 429))  # noqa: B023
                rules = {"policy": f'path "{node.node_id}" {{ capabilities = ["read"] }}'}
                self.cluster.leader().http().expect(204, "POST", "sys/policies/acl/moved", rules)
                # A standby answers 404 until it has applied the write.
                wait_for("the policy", lambda: self.policy_at(node) == rules["policy"])  # noqa: B023

    def test_the_active_node_has_moved_and_leads_again(self):
        """Requests that another node takes are forwarded to the new address."""
        moved = self.cluster.leader()
        self.move(moved)
        self.cluster.unseal(moved)
        wait_for("its new address", lambda: self.is_known(moved))
        # It may lead again already: it was back before an election was over.
        wait_for("a member", lambda: status(moved, "sys/health") in (200, 429))

        def leads():
            leader = self.cluster.leader()
            if leader is not moved:
                leader.http().put("sys/step-down")
            return leader is moved

        wait_for("the moved node leads", leads)
        for node in self.cluster.nodes:
            rules = {"policy": f'path "{node.node_id}" {{ capabilities = ["read"] }}'}
            node.http().expect(204, "POST", "sys/policies/acl/moved", rules)
            wait_for("the policy", lambda: self.policy_at(node) == rules["policy"])  # noqa: B023

    def test_all_have_moved(self):
        """Nobody finds anybody: the reason is said, once."""
        for node in self.cluster.nodes:
            self.move(node)
        for node in self.cluster.nodes:
            self.cluster.unseal(node)
        node = self.cluster.nodes[0]
        wait_for("the reason", lambda: "no other node accepted this node's new address" in node.log.read_text())
        wait_for("another try", lambda: status(node, "sys/health") == 474)
        self.assertEqual(node.log.read_text().count("no other node accepted this node's new address"), 1)


class AnotherKey(unittest.TestCase):
    """New key shares come with a new root key, which every node has to come to."""

    def rekey(self, cluster):
        root = cluster.leader().http()
        nonce = root.expect(200, "POST", "sys/rekey/init", {"secret_shares": 2, "secret_threshold": 2}).json["nonce"]
        for share in cluster.nodes[0].shares:
            made = root.expect(200, "POST", "sys/rekey/update", {"nonce": nonce, "key": share}).json
        for node in cluster.nodes:
            node.shares, node.threshold = made["keys"], 2

    def test_nodes_follow_a_rekey_over_failovers(self):
        cluster = Cluster(3)
        self.addCleanup(cluster.remove)
        root = cluster.leader().http()
        root.expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        old = cluster.nodes[0].shares
        for lap in range(3):
            root = cluster.leader().http()
            root.expect(204, "POST", "kv/lap", {"v": lap})
            self.rekey(cluster)
            # The next to lead may not have looked for the new key yet.
            killed = cluster.leader()
            killed.kill()
            rest = [node for node in cluster.nodes if node is not killed]
            root = cluster.leader(rest).http()
            root.expect(204, "POST", "sys/rotate")
            root.expect(204, "POST", "kv/after", {"v": lap})
            root.expect(204, "POST", f"kv/after-{lap}", {"v": lap})
            killed.start()
            told = killed.http(token="").put("sys/unseal", {"key": old[0]})
            self.assertEqual(told.status, 400, "a share of another length")
            cluster.unseal(killed)
            cluster.wait_voters(3)
            for node in cluster.nodes:
                for path in ("kv/lap", "kv/after"):
                    read = lambda: node.http().get(path).data == {"v": lap}  # noqa: B023, E731
                    wait_for("the newest data", read)
        # All from storage alone.
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
            cluster.unseal(node)
        root = cluster.leader().http()
        self.assertEqual(root.get("kv/after").data, {"v": 2})
        for lap in range(3):
            self.assertEqual(root.get(f"kv/after-{lap}").data, {"v": lap}, "no key of a rotation is lost")
        # A node that joins proves itself with the new key.
        cluster.join(cluster._add().start())
        cluster.wait_voters(4)


class ClockedCluster(Cluster):
    node_class = Clocked


@unittest.skipUnless(library(), "needs libfaketime (scripts/install-test-deps)")
class AfterDays(unittest.TestCase):
    def setUp(self):
        self.cluster = ClockedCluster(3)
        self.addCleanup(self.cluster.remove)
        self.cluster.leader().http().expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})

    def test_nodes_that_were_off_for_forty_days_come_back_in_any_order(self):
        days = 0
        for order in itertools.permutations(self.cluster.nodes):
            with self.subTest(order=[node.node_id for node in order]):
                days += 40
                for node in order:
                    node.kill()
                for node in order:
                    node.set_clock(days * DAY_S)
                    node.start()
                for node in order:
                    self.cluster.unseal(node)
                leader = self.cluster.leader()
                leader.http().expect(204, "POST", "kv/days", {"v": days})
                for node in order:
                    read = lambda: node.http().get("kv/days").data == {"v": days}  # noqa: B023, E731
                    wait_for("the newest data", read)

    def test_a_node_that_is_sealed_for_a_week_keeps_up(self):
        sealed = self.cluster.standbys()[0]
        sealed.kill()
        sealed.start()
        certificate = sealed.storage_path / "cluster" / "node.crt"
        seen = {certificate.read_text()}
        for hours in range(10, 7 * 24, 10):
            for node in self.cluster.nodes:
                node.set_clock(hours * HOUR_S)
            wait_for("another certificate", lambda: certificate.read_text() not in seen)
            seen.add(certificate.read_text())
        leader = self.cluster.leader()
        leader.http().expect(204, "POST", "kv/week", {"v": 1})
        self.assertNotEqual(leader, sealed)
        self.cluster.unseal(sealed)
        wait_for("the newest data", lambda: sealed.http().get("kv/week").data == {"v": 1})


if __name__ == "__main__":
    unittest.main()
