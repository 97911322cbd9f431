"""What autopilot does about nodes that are new, and about nodes that are dead."""

import subprocess
import time
import unittest

from support import harness
from cluster import Cluster, status, wait_for

STATE = "sys/storage/raft/autopilot/state"
CONFIGURATION = "sys/storage/raft/autopilot/configuration"
#: The shortest time after which a silent node may be configured to be dead.
SHORTEST_DEATH_S = 60


def state(node):
    return node.http().expect(200, "GET", STATE).data


def vault(node, *words):
    environment = {"VAULT_ADDR": node.address, "VAULT_TOKEN": node.root_token, "HOME": "/nonexistent"}
    command = [str(harness.find_binary()), "operator", "raft", "autopilot", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Health(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.addClassCleanup(cls.cluster.remove)

    def healthy(self):
        return wait_for("health", lambda: (lambda s: s if s["healthy"] else None)(state(self.cluster.leader())))

    def test_every_node_tells_what_the_active_one_sees(self):
        self.healthy()
        leader = self.cluster.leader()
        for node in self.cluster.nodes:
            told = state(node)
            self.assertEqual((told["healthy"], told["failure_tolerance"], told["leader"]), (True, 1, leader.node_id))
            self.assertEqual(told["voters"], ["node1", "node2", "node3"])
            self.assertNotIn("non_voters", told)
            self.assertEqual(set(told["servers"]), {"node1", "node2", "node3"})
            version = node.http(token="").get("sys/health").json["version"]
            for name, server in told["servers"].items():
                self.assertEqual((server["id"], server["name"]), (name, name))
                self.assertEqual(server["status"], "leader" if name == leader.node_id else "voter")
                self.assertEqual((server["node_status"], server["node_type"]), ("alive", "voter"))
                self.assertEqual(server["version"], version)
                self.assertTrue(server["healthy"])
                self.assertGreater(server["last_index"], 0)
                self.assertGreater(server["last_term"], 0)
            self.assertEqual(told["servers"][leader.node_id]["last_contact"], "0s")

    def test_a_node_that_is_away_is_unhealthy(self):
        before = self.healthy()
        leader = self.cluster.leader()
        leader.http().expect(204, "POST", CONFIGURATION, {"last_contact_threshold": "2s"})
        away = self.cluster.standbys()[0]
        away.kill()
        told = wait_for("bad health", lambda: (lambda s: None if s["healthy"] else s)(state(leader)))
        self.assertEqual(told["failure_tolerance"], 0)
        server = told["servers"][away.node_id]
        self.assertEqual((server["healthy"], server["node_status"], server["status"]), (False, "alive", "voter"))
        self.assertGreater(server["stable_since"], before["servers"][away.node_id]["stable_since"])
        away.start()
        self.assertEqual(self.healthy()["failure_tolerance"], 1, "a sealed node votes")
        self.cluster.unseal(away)

    def test_the_configuration_is_one_for_all_nodes(self):
        for number, node in enumerate(self.cluster.nodes):
            node.http().expect(204, "POST", CONFIGURATION, {"max_trailing_logs": 2000 + number})
            for other in self.cluster.nodes:
                read = lambda: other.http().expect(200, "GET", CONFIGURATION).data["max_trailing_logs"]  # noqa: B023, E731
                wait_for("the configuration", lambda: read() == 2000 + number)
        told = self.cluster.leader().http().post(CONFIGURATION, {"cleanup_dead_servers": True, "min_quorum": 0})
        self.assertEqual(told.status, 400, told.text)
        self.assertIn("min_quorum", told.text)

    def test_the_command_line(self):
        self.healthy()
        leader, standby = self.cluster.leader(), self.cluster.standbys()[0]
        code, out, err = vault(standby, "state")
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(lines[:3], [
            "Healthy:                         true", "Failure Tolerance:               1",
            f"Leader:                          {leader.node_id}"])
        self.assertIn("      Status:            leader", lines)
        code, out, err = vault(standby, "set-config", "-server-stabilization-time=15s", "-cleanup-dead-servers=true",
                               "-min-quorum=3")
        self.assertEqual((code, out, err), (0, "", ""))
        code, out, _ = vault(leader, "get-config")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^Server Stabilization Time +15s$")
        self.assertRegex(out, r"(?m)^Cleanup Dead Servers +true$")
        code, _, err = vault(leader, "set-config", "-dead-server-last-contact-threshold=5s")
        self.assertEqual(code, 2)
        self.assertIn("at least 1m0s", err)
        leader.http().expect(204, "POST", CONFIGURATION, {"cleanup_dead_servers": False})


class Stabilisation(unittest.TestCase):
    def test_a_new_node_votes_once_it_has_been_healthy_for_a_while(self):
        cluster = Cluster(1, autopilot={"server_stabilization_time": "5s"})
        self.addCleanup(cluster.remove)
        node, begun = cluster._add().start(), time.monotonic()
        cluster.join(node)
        told = state(cluster.leader())
        self.assertEqual((told["voters"], told["non_voters"]), (["node1"], ["node2"]))
        self.assertEqual(told["servers"]["node2"]["status"], "non-voter")
        self.assertEqual(status(node, "sys/health"), 429, "it serves all the same")
        cluster.wait_voters(2)
        self.assertGreater(time.monotonic() - begun, 5)

    def test_who_is_never_to_vote_does_not(self):
        cluster = Cluster(2)
        self.addCleanup(cluster.remove)
        leader = cluster.leader()
        leader.http().expect(204, "POST", "sys/storage/raft/demote", {"server_id": "node2"})
        for _ in range(4):
            time.sleep(1)
            self.assertEqual(state(leader)["voters"], ["node1"])
        self.assertEqual(state(leader)["servers"]["node2"]["node_type"], "read-replica")
        leader.http().expect(204, "POST", "sys/storage/raft/promote", {"server_id": "node2"})
        self.assertEqual(state(leader)["voters"], ["node1", "node2"])


class DeadServers(unittest.TestCase):
    def test_a_dead_node_goes_when_another_has_taken_its_place(self):
        cluster = Cluster(3, autopilot={
            "server_stabilization_time": "0s", "cleanup_dead_servers": True, "min_quorum": 3,
            "dead_server_last_contact_threshold": f"{SHORTEST_DEATH_S}s"})
        self.addCleanup(cluster.remove)
        dead, begun = cluster.standbys()[0], time.monotonic()
        dead.kill()
        time.sleep(SHORTEST_DEATH_S)
        # A node that has come to lead meanwhile counts from there.
        has_left = lambda: state(cluster.leader())["servers"][dead.node_id]["node_status"] == "left"  # noqa: E731
        wait_for("death", has_left, 2 * SHORTEST_DEATH_S)
        leader = cluster.leader()
        told = state(leader)
        self.assertEqual(len(told["voters"]), 3, "as many as min_quorum stay")
        cluster.join(cluster._add().start(), through=leader)
        names = lambda: [peer["node_id"] for peer in cluster.peers(leader)]  # noqa: E731
        wait_for("removal", lambda: dead.node_id not in names())
        self.assertGreater(time.monotonic() - begun, SHORTEST_DEATH_S)
        told = state(leader)
        self.assertEqual((len(told["voters"]), told["healthy"], told["failure_tolerance"]), (3, True, 1))
        self.assertIn("removing dead node", leader.log.read_text())


class Removed(unittest.TestCase):
    """A node that was taken out says so, sealed or not, and until it joins with an empty data directory."""

    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.remove)

    def assert_removed(self, node):
        wait_for("word of the removal", lambda: status(node, "sys/health") == 530)
        self.assertEqual(status(node, "sys/health?removedcode=299"), 299)
        health = node.http(token="").get("sys/health?removedcode=200").json
        self.assertEqual((health["removed_from_cluster"], health["sealed"]), (True, True))
        seal = node.http(token="").get("sys/seal-status").json
        self.assertEqual((seal["removed_from_cluster"], seal["sealed"]), (True, True))
        told = node.http(token="").put("sys/unseal", {"key": node.shares[0]})
        self.assertEqual(told.status, 500)
        self.assertIn("removed from its cluster", told.text)

    def remove(self, node):
        leader = self.cluster.leader([other for other in self.cluster.nodes if other is not node])
        leader.http().expect(204, "POST", "sys/storage/raft/remove-peer", {"server_id": node.node_id})

    def test_a_standby(self):
        node = self.cluster.standbys()[0]
        self.remove(node)
        self.assert_removed(node)
        self.assertIn("removed from its cluster", node.log.read_text())
        node.kill()
        node.start()
        self.assert_removed(node)
        node.kill()
        harness.shutil.rmtree(node.storage_path)
        node.storage_path.mkdir()
        node.start()
        self.cluster.join(node, through=self.cluster.leader([n for n in self.cluster.nodes if n is not node]))
        self.cluster.wait_voters(3)
        seal = node.http(token="").get("sys/seal-status").json
        self.assertEqual((seal["removed_from_cluster"], seal["sealed"]), (False, False))

    def test_the_active_node(self):
        node = self.cluster.leader()
        node.http().expect(204, "POST", "sys/storage/raft/remove-peer", {"server_id": node.node_id})
        self.assert_removed(node)
        self.assertEqual(len(self.cluster.peers(self.cluster.leader())), 2)

    def test_one_without_a_vote(self):
        node = self.cluster.standbys()[0]
        self.cluster.leader().http().expect(204, "POST", "sys/storage/raft/demote", {"server_id": node.node_id})
        self.remove(node)
        self.assert_removed(node)

    def test_one_that_is_cut_off_is_not(self):
        leader, (first, second) = self.cluster.leader(), self.cluster.standbys()
        for node in (leader, first):
            node.kill()
        wait_for("loss of the quorum", lambda: status(second, "sys/health") == 474)
        time.sleep(5)
        self.assertEqual(status(second, "sys/health"), 474)
        self.assertFalse(second.http(token="").get("sys/seal-status").json["removed_from_cluster"])
