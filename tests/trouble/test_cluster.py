"""Three nodes: joining, standbys, failover."""

import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support import harness, wait_until
from cluster import Cluster, status, wait_for

#: How long writes may stand still when the active node is killed.
FAILOVER_LIMIT_S = 5


class Writer(threading.Thread):
    """Writes numbered secrets through one node until it is told to stop; tries again what failed, as clients do."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node, self.name_, self.done = node, name, threading.Event()
        self.acknowledged, self.times, self.failures = [], [], []

    def run(self):
        connection, number = self.node.http(timeout_s=30), 0
        while not self.done.is_set():
            path = f"secret/data/{self.name_}/{number}"
            try:
                reply = connection.post(path, {"data": {"n": number}})
            except (OSError, harness.http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = self.node.http(timeout_s=30)
                time.sleep(0.02)
                continue
            if reply.status == 200:
                self.acknowledged.append(number)
                self.times.append(time.monotonic())
                number += 1
            else:
                self.failures.append(f"{reply.status} {reply.text.strip()}")
                time.sleep(0.02)

    def stop(self):
        self.done.set()
        self.join(60)


def longest_pause(times, begun, ended):
    points = [begun, *sorted(time_ for time_ in times if begun < time_ < ended), ended]
    return max(after - before for before, after in zip(points, points[1:]))


class ThreeNodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.leader().http().expect(
            204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        cls.addClassCleanup(cls.cluster.remove)

    def setUp(self):
        for node in self.cluster.nodes:
            if node not in self.cluster.running():
                node.start()
                self.cluster.unseal(node)
        self.cluster.wait_voters(3)

    def written(self, connection, path, value):
        connection.expect(200, "POST", f"secret/data/{path}", {"data": {"v": value}})

    def test_every_node_knows_the_others(self):
        leader = self.cluster.leader()
        for node in self.cluster.nodes:
            self.assertEqual([peer["node_id"] for peer in self.cluster.peers(node)], ["node1", "node2", "node3"])
            told = node.http(token="").get("sys/leader").json
            self.assertEqual((told["is_self"], told["leader_address"]), (node is leader, leader.address))
            self.assertEqual(status(node, "sys/health"), 200 if node is leader else 429)
            self.assertEqual(status(node, "sys/health?standbyok=true"), 200)
            self.assertEqual(status(node, "sys/health?standbycode=299"), 200 if node is leader else 299)
            self.assertGreater(node.http().get("sys/storage/raft/configuration").data["config"]["index"], 0)
            nodes = node.http().get("sys/ha-status").data["nodes"]
            self.assertEqual([n["api_address"] for n in nodes if n["active_node"]], [leader.address])

    def test_a_standby_takes_writes_and_answers_reads(self):
        for number, node in enumerate(self.cluster.nodes):
            self.written(node.http(), f"through/{number}", number)
            for other in self.cluster.nodes:
                read = lambda: other.http().get(f"secret/data/through/{number}")  # noqa: B023, E731
                wait_for("the secret", lambda: read().status == 200)
                self.assertEqual(read().data["data"], {"v": number})

    def test_tokens_made_on_one_node_hold_on_all(self):
        first, second = self.cluster.standbys()
        made = first.http().expect(200, "POST", "auth/token/create", {"policies": ["default"], "num_uses": 3})
        token, index = made.json["auth"]["client_token"], {"X-Vault-Index": made.headers["x-vault-index"]}
        lookup = lambda: second.http(token).get("auth/token/lookup-self", headers=index)  # noqa: E731
        self.assertEqual([lookup().status for _ in range(4)], [200, 200, 200, 403], "uses are counted once, by all")

    def test_a_token_is_good_on_every_node_as_soon_as_it_is_made(self):
        root = self.cluster.leader().http()
        for _ in range(50):
            token = root.expect(200, "POST", "auth/token/create", {"policies": ["default"]}).json["auth"]["client_token"]
            for node in self.cluster.standbys():
                self.assertEqual(node.http(token).get("auth/token/lookup-self").status, 200)
        refused = self.cluster.standbys()[0].http("hvs.unknown").get("auth/token/lookup-self")
        self.assertEqual((refused.status, refused.errors), (403, ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]))

    def test_who_shows_the_index_reads_what_it_wrote_anywhere(self):
        leader, (first, second) = self.cluster.leader(), self.cluster.standbys()
        for number in range(50):
            told = first.http().expect(200, "POST", "secret/data/own", {"data": {"v": number}})
            index = told.headers["x-vault-index"]
            kind, _, at, replicated, tag = base64.b64decode(index).decode().split(":")
            self.assertEqual((kind, replicated, len(tag)), ("v1", "0", 64))
            self.assertGreater(int(at), 0)
            for node in (second, first, leader):
                read = node.http().get("secret/data/own", headers={"X-Vault-Index": index})
                self.assertEqual(read.data["data"], {"v": number}, node.node_id)
        self.assertNotIn("x-vault-index", first.http().get("secret/data/own").headers)

    def test_an_index_that_is_not_there_yet(self):
        leader, standby = self.cluster.leader(), self.cluster.standbys()[0]
        standby.pause()
        try:
            index = self.index_of(leader)
        finally:
            standby.resume()
        for wanted, expected in ((None, 200), ("forward-active-node", 200)):
            headers = {"X-Vault-Index": index} | ({"X-Vault-Inconsistent": wanted} if wanted else {})
            self.assertEqual(standby.http().get("secret/data/later", headers=headers).status, expected, wanted)
        for broken in ("x", base64.b64encode(b"v1:x").decode(), self.forged(index)):
            told = standby.http().get("secret/data/later", headers={"X-Vault-Index": broken})
            self.assertEqual((told.status, told.errors), (400, ["X-Vault-Index is malformed"]))

    def index_of(self, node):
        return node.http().expect(200, "POST", "secret/data/later", {"data": {"v": 1}}).headers["x-vault-index"]

    @staticmethod
    def forged(index):
        kind, cluster, at, replicated, tag = base64.b64decode(index).decode().split(":")
        return base64.b64encode(f"{kind}:{cluster}:{int(at) + 1}:{replicated}:{tag}".encode()).decode()

    def test_a_leader_that_was_asleep_answers_nothing_old(self):
        old = self.cluster.leader()
        old.pause()
        survivors = [node for node in self.cluster.nodes if node is not old]
        new = self.cluster.leader(survivors)
        self.written(new.http(), "asleep", "new")
        asked = []
        asking = threading.Thread(target=lambda: asked.append(
            old.http().get("secret/data/asleep", headers={"X-Vault-Forward": "active-node"})))
        asking.start()
        time.sleep(0.2)
        old.resume()
        asking.join(30)
        self.assertIn(asked[0].status, (200, 503))
        if asked[0].status == 200:
            self.assertEqual(asked[0].data["data"], {"v": "new"})

    def test_wrapped_answers_are_unwrapped_once(self):
        first, second = self.cluster.standbys()
        self.written(first.http(), "wrapped", 1)
        wait_for("the secret", lambda: first.http().get("secret/data/wrapped").status == 200)
        wrapped = first.http().get("secret/data/wrapped", headers={"X-Vault-Wrap-TTL": "1m"}).json["wrap_info"]
        self.assertEqual(second.http(wrapped["token"]).post("sys/wrapping/unwrap").status, 200)
        self.assertEqual(first.http(wrapped["token"]).post("sys/wrapping/unwrap").status, 400)

    def test_refusals_are_those_of_the_active_node(self):
        standby, leader = self.cluster.standbys()[0], self.cluster.leader()
        for method, path, body in (("POST", "nowhere/x", {}), ("POST", "secret/data/x", {"data": 1}),
                                   ("POST", "sys/mounts/secret", {"type": "kv"}), ("DELETE", "sys/nothing", None)):
            here, there = (node.http().request(method, path, body) for node in (standby, leader))
            self.assertEqual((here.status, here.text), (there.status, there.text), path)
        self.assertEqual(standby.http("wrong").post("secret/data/x", {"data": {}}).status, 403)
        self.assertEqual(standby.http().post("sys/seal").status, 500)

    def test_the_callers_address_goes_along(self):
        leader = self.cluster.leader()
        http = leader.http()
        http.expect(204, "PUT", "sys/audit/file", {"type": "file", "options": {"file_path": str(leader.audit_file)}})
        try:
            self.written(self.cluster.standbys()[0].http(), "seen", 1)
            text = leader.audit_file.read_text()
            self.assertIn('"remote_address":"127.0.0.1"', text)
            self.assertIn("secret/data/seen", text)
        finally:
            http.expect(204, "DELETE", "sys/audit/file")

    def test_the_active_node_is_killed_under_load(self):
        writers = [Writer(node, f"kill-{node.node_id}") for node in self.cluster.nodes]
        for writer in writers:
            writer.start()
        time.sleep(1)
        victim, begun = self.cluster.leader(), time.monotonic()
        victim.kill()
        survivors = [node for node in self.cluster.nodes if node is not victim]
        self.cluster.leader(survivors)
        time.sleep(2)
        ended = time.monotonic()
        for writer in writers:
            writer.stop()
        others = [writer for writer in writers if writer.node is not victim]
        pause = longest_pause([t for writer in others for t in writer.times], begun, ended)
        print(f"     writes stood still for {pause:.2f} s", flush=True)
        self.assertLess(pause, FAILOVER_LIMIT_S)
        victim.start()
        self.cluster.unseal(victim)
        self.cluster.wait_voters(3)
        self.assert_all_there(writers)

    def test_the_active_node_steps_down_under_load(self):
        writers = [Writer(node, f"step-{node.node_id}") for node in self.cluster.nodes]
        for writer in writers:
            writer.start()
        time.sleep(1)
        old, begun = self.cluster.leader(), time.monotonic()
        old.http().expect(204, "PUT", "sys/step-down")
        wait_for("another active node", lambda: self.cluster.leader() is not old)
        time.sleep(1)
        ended = time.monotonic()
        for writer in writers:
            writer.stop()
        pause = longest_pause([t for writer in writers for t in writer.times], begun, ended)
        print(f"     writes stood still for {pause:.2f} s", flush=True)
        self.assertLess(pause, FAILOVER_LIMIT_S)
        self.assert_all_there(writers)

    def test_there_is_nobody_to_step_down_for(self):
        """All others vote, but are sealed."""
        leader = self.cluster.leader()
        writer = Writer(leader, "nobody")
        for node in self.cluster.standbys():
            node.stop()
            node.start()
        self.written(leader.http(), "before", 1)
        writer.start()
        wait_for("a write", lambda: writer.acknowledged)
        begun = time.monotonic()
        told = leader.http().put("sys/step-down")
        self.assertEqual((told.status, told.errors[0].split(":")[0]), (500, "no other node can take over"))
        # Longer than a lease lasts and an election takes: what a handover that fails would show.
        wait_for("writes after it", lambda: writer.times and writer.times[-1] > begun + 3)
        writer.stop()
        self.assertEqual(writer.failures, [])
        self.assertLess(longest_pause(writer.times, begun, begun + 3), 1)
        self.assertTrue(leader.http().get("sys/leader").json["is_self"])
        for node in self.cluster.nodes:
            if node is not leader:
                self.cluster.unseal(node)
        self.assert_all_there([writer])

    def assert_all_there(self, writers):
        leader = self.cluster.leader()
        for writer in writers:
            listed = leader.http().list(f"secret/metadata/{writer.name_}").data["keys"]
            lost = set(map(str, writer.acknowledged)) - set(listed)
            self.assertEqual(lost, set(), f"acknowledged through {writer.node.node_id} and lost")

    def test_a_node_that_was_away_catches_up(self):
        away = self.cluster.standbys()[0]
        away.kill()
        self.written(self.cluster.leader().http(), "missed", "x")
        away.start()
        self.assertEqual(status(away, "sys/health"), 503)
        self.cluster.unseal(away)
        wait_for("the secret", lambda: away.http().get("secret/data/missed").status == 200)

    def test_a_cluster_that_was_stopped_goes_on(self):
        self.written(self.cluster.leader().http(), "kept", "x")
        for node in self.cluster.nodes:
            node.stop()
        for node in self.cluster.nodes:
            node.start()
        self.assertEqual([status(node, "sys/health") for node in self.cluster.nodes], [503] * 3)
        for node in self.cluster.nodes:
            self.cluster.unseal(node)
        self.assertEqual(self.cluster.leader().http().get("secret/data/kept").status, 200)

    def test_a_majority_is_enough_and_a_minority_is_not(self):
        first, second = self.cluster.standbys()
        leader = self.cluster.leader()
        first.kill()
        self.written(leader.http(), "two", "x")
        second.kill()
        begun = time.monotonic()
        reply = self.refused(leader)
        self.assertNotEqual(reply, 200, "acknowledged without a majority")
        self.assertLess(time.monotonic() - begun, 30)

    @staticmethod
    def refused(node):
        try:
            return node.http(timeout_s=20).post("secret/data/alone", {"data": {}}).status
        except OSError:
            return None


class WithoutQuorum(unittest.TestCase):
    """Two of three nodes are gone for good."""

    def cluster_of(self, storage_config):
        cluster = Cluster(3, storage_config=storage_config)
        self.addCleanup(cluster.remove)
        cluster.leader().http().expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        cluster.leader().http().expect(200, "POST", "secret/data/a", {"data": {"v": 1}})
        time.sleep(0.5)
        return cluster

    def lose(self, cluster, last):
        for node in cluster.nodes:
            if node is not last:
                node.kill()

    def test_reads_are_answered_stale_where_that_is_allowed(self):
        for leads in (True, False):
            cluster = self.cluster_of('  quorum_loss_read_only = "15m"\n')
            last = cluster.leader() if leads else cluster.standbys()[0]
            self.lose(cluster, last)
            wait_for("loss of the quorum", lambda: status(last, "sys/health") == 474, 20)
            read = last.http().get("secret/data/a")
            self.assertEqual((read.status, read.data["data"]), (200, {"v": 1}))
            self.assertGreaterEqual(int(read.headers["x-strongroom-stale"]), 5)
            begun = time.monotonic()
            self.assertEqual(last.http().post("secret/data/a", {"data": {}}).status, 500)
            self.assertLess(time.monotonic() - begun, 12)
            told = last.http(token="").get("sys/leader").json
            self.assertFalse(told["is_self"])
            self.assertIn("no quorum", last.log.read_text())

    def test_no_read_is_answered_where_that_is_not_allowed(self):
        cluster = self.cluster_of("")
        last = cluster.leader()
        self.lose(cluster, last)
        wait_for("loss of the quorum", lambda: status(last, "sys/health") == 474, 20)
        told = last.http(timeout_s=20).get("secret/data/a")
        self.assertEqual((told.status, told.errors), (500, ["local node not active but active cluster node not found"]))

    def test_the_node_seals_itself(self):
        cluster = self.cluster_of('  quorum_loss_seal_after = "6s"\n')
        last = cluster.leader()
        self.lose(cluster, last)
        wait_for("sealing", lambda: status(last, "sys/health") == 503, 30)
        self.assertIn("sealing: no quorum", last.log.read_text())
        for node in cluster.nodes:
            if node is not last:
                node.start()
                cluster.unseal(node)
        cluster.unseal(last)
        read = cluster.leader().http().get("secret/data/a")
        self.assertEqual(read.data["data"], {"v": 1})


class DevelopmentCluster(unittest.TestCase):
    """`server -dev-three-node`."""

    def start(self, *flags):
        port = harness.free_port_run(6)
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        command = [str(harness.find_binary()), "server", "-dev-three-node", f"-dev-listen-address=127.0.0.1:{port}",
                   f"-dev-cluster-json={home.name}/cluster.json", *flags]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VAULT_")}
        (Path(home.name) / "tmp").mkdir()
        with (Path(home.name) / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment | {"HOME": home.name, "TMPDIR": f"{home.name}/tmp"},
                                       stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process, Path(home.name)

    def started(self, *flags):
        process, home = self.start(*flags)
        wait_for("the greeting", lambda: process.poll() is not None or "Root Token" in (home / "log").read_text())
        self.assertIsNone(process.poll(), (home / "log").read_text())
        made = json.loads((home / "cluster.json").read_text())
        nodes = [harness.Http(node["api_address"], made["root_token"], made["ca_cert_path"], timeout_s=15)
                 for node in made["nodes"]]
        return process, home, nodes

    def assert_gone(self, process, home):
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(list((home / "tmp").iterdir()), [])

    def test_three_nodes_serve_and_leave_nothing_behind(self):
        process, home, nodes = self.started("-dev-tls")
        self.assertEqual((home / ".vault-token").read_text(), nodes[0].token)
        self.assertEqual(len(list((home / "tmp").iterdir())), 1)
        for node in nodes:
            told = node.get("sys/seal-status").json
            self.assertEqual((told["initialized"], told["sealed"], told["storage_type"]), (True, False, "raft"))
        servers = nodes[0].expect(200, "GET", "sys/storage/raft/configuration").data["config"]["servers"]
        self.assertEqual([(peer["node_id"], peer["voter"]) for peer in servers],
                         [("core-0", True), ("core-1", True), ("core-2", True)])
        told = nodes[1].expect(200, "POST", "secret/data/a", {"data": {"v": 1}})
        index = {"X-Vault-Index": told.headers["x-vault-index"]}
        for node in nodes:
            self.assertEqual(node.get("secret/data/a", headers=index).data["data"], {"v": 1})
        nodes[0].expect(204, "PUT", "sys/step-down")
        wait_for("another active node", lambda: not nodes[0].get("sys/leader").json["is_self"])
        nodes[0].expect(200, "POST", "secret/data/a", {"data": {"v": 2}})
        process.terminate()
        self.assert_gone(process, home)

    def test_a_signal_that_comes_early_leaves_nothing_behind(self):
        process, home = self.start()
        wait_for("a directory", lambda: any((home / "tmp").glob("*/core-1")))
        process.send_signal(signal.SIGINT)
        self.assert_gone(process, home)

    def test_a_port_that_is_taken_leaves_nothing_behind(self):
        process, home, _ = self.started()
        self.addCleanup(process.terminate)
        port = json.loads((home / "cluster.json").read_text())["nodes"][1]["api_address"].rsplit(":", 1)[1]
        second, other = self.start(f"-dev-listen-address=127.0.0.1:{port}")
        self.assertEqual(second.wait(30), 1)
        self.assertEqual(list((other / "tmp").iterdir()), [])
        self.assertIn("Address already in use", (other / "log").read_text())
        process.terminate()
        self.assert_gone(process, home)


class Joining(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(1, shares=3, threshold=2)
        self.addCleanup(self.cluster.remove)

    def test_a_node_leaves_and_comes_back(self):
        node = self.cluster._add().start()
        self.cluster.join(node)
        self.cluster.wait_voters(2)
        self.cluster.leader().http().expect(204, "POST", "sys/storage/raft/remove-peer", {"server_id": "node2"})
        self.assertEqual([peer["node_id"] for peer in self.cluster.peers()], ["node1"])
        node.kill()
        harness.shutil.rmtree(node.storage_path)
        node.storage_path.mkdir()
        node.start()
        self.cluster.join(node)
        self.cluster.wait_voters(2)

    def test_who_does_not_know_the_unseal_key_stays_out(self):
        leader, node = self.cluster.leader(), self.cluster._add().start()
        node.http(token="").expect(200, "POST", "sys/storage/raft/join", {"leader_api_addr": leader.address})
        self.assertEqual(node.http(token="").get("sys/seal-status").json["initialized"], True)
        wrong = ["00" * 33, "11" * 33]
        told = [node.http(token="").put("sys/unseal", {"key": share}).status for share in wrong]
        self.assertEqual(told, [200, 400])
        self.assertEqual(len(self.cluster.peers()), 1)
        posed = leader.http(token="").expect(
            200, "POST", "sys/storage/raft/bootstrap/challenge", {"server_id": "node2"}).data
        answer = {"server_id": "node2", "raft_id": "7", "cluster_addr": "https://127.0.0.1:1",
                  "public_key": base64.b64encode(b"x" * 65).decode(), "answer": posed["challenge"]}
        for _ in range(2):
            told = leader.http(token="").post("sys/storage/raft/bootstrap/answer", answer)
            self.assertEqual(told.status, 403, told.text)
        self.assertEqual(len(self.cluster.peers()), 1)

    def test_a_member_does_not_join_again(self):
        node = self.cluster.leader()
        told = node.http(token="").post("sys/storage/raft/join", {"leader_api_addr": node.address})
        self.assertEqual((told.status, told.errors), (500, ["raft storage is already initialized"]))
        told = node.http(token="").post("sys/storage/raft/join", {})
        self.assertEqual(told.status, 400)

    def test_the_configuration_names_whom_to_join(self):
        self.joins_by(f'leader_api_addr = "{self.cluster.leader().address}"')

    def test_the_configuration_lists_whom_to_join(self):
        """Of the nodes that are listed, one is not there."""
        nowhere, port = harness.free_ports(1)[0], self.cluster.leader().port
        found = f"provider=static addrs=127.0.0.1:{nowhere},127.0.0.1:{port}"
        self.joins_by(f'auto_join = "{found}"\n auto_join_scheme = "http"')

    def test_the_nodes_to_join_are_found_by_name(self):
        port = self.cluster.leader().port
        self.joins_by(f'auto_join = "provider=dns name=localhost"\n auto_join_scheme = "http"\n auto_join_port = {port}')

    def joins_by(self, lines):
        first = self.cluster.leader()
        text = f'  retry_join {{\n    {lines}\n  }}\n'
        node = harness.Server.temporary(node_id="node2", storage_config=text)
        self.cluster.nodes.append(node)
        node.start()
        found = lambda: node.http(token="").get("sys/seal-status").json["initialized"]  # noqa: E731
        wait_for("the cluster", found)
        node.shares, node.threshold, node.root_token = first.shares, first.threshold, first.root_token
        self.cluster.unseal(node)
        self.cluster.wait_voters(2)
        wait_until(lambda: status(node, "sys/health") == 429, 10, "a standby")

    def test_the_command_line_finds_whom_to_join(self):
        first, node = self.cluster.leader(), self.cluster._add().start()
        join = [str(node.binary), "operator", "raft", "join", "-auto-join-scheme=http"]
        environment = os.environ | {"VAULT_ADDR": node.address}
        refused = subprocess.run([*join, "provider=aws region=x"], env=environment, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 2)
        self.assertIn('auto_join provider "aws" is not supported; supported are "static", "dns"', refused.stderr)
        subprocess.run([*join, f'provider=static addrs="127.0.0.1:{first.port}"'], env=environment, check=True,
                       capture_output=True)
        node.shares, node.threshold, node.root_token = first.shares, first.threshold, first.root_token
        self.cluster.unseal(node)
        self.cluster.wait_voters(2)

    def test_a_cloud_is_not_asked(self):
        text = '  retry_join {\n    auto_join = "provider=aws secret_access_key=hush"\n  }\n'
        node = harness.Server.temporary(node_id="node2", storage_config=text)
        self.addCleanup(node.remove)
        command = [str(node.binary), "server", "-test-verify-only", f"-config={node.config}"]
        told = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(told.returncode, 1)
        self.assertIn('"auto_join" provider "aws" is not supported; supported are "static", "dns"', told.stderr)
        self.assertNotIn("hush", told.stdout + told.stderr)
