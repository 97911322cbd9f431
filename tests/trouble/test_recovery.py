"""What is left of a cluster is made one again: `operator raft recover`, peers.json, rebuilding a node; the runbooks."""

import json
import os
import re
import subprocess
import tempfile
import textwrap
import time
import unittest
from pathlib import Path

from support import harness
from cluster import Cluster, status, wait_for

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs/runbooks"


def steps(page, mark):
    """The scripts of a runbook whose info string has this mark: what else it says, and the script."""
    fence = re.compile(rf"^ *```bash {mark}( [a-z]+)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [(told.strip(), script) for told, script in fence.findall((RUNBOOKS / page).read_text())]


class Runbook(unittest.TestCase):
    def run_step(self, node, script):
        with tempfile.TemporaryDirectory() as tools:
            for name in ("strongroom", "vault"):
                (Path(tools) / name).symlink_to(harness.find_binary())
            environment = os.environ | {
                "PATH": f"{tools}:{os.environ['PATH']}", "HOME": tools, "VAULT_ADDR": node.address,
                "VAULT_TOKEN": node.root_token, "NODE": node.node_id, "DATA": str(node.storage_path)}
            command = ["bash", "-euo", "pipefail", "-c", textwrap.dedent(script)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, f"{script}\n{done.stdout}{done.stderr}")
        return done.stdout


def three_nodes(test, **options):
    """A cluster with 50 secrets, which all nodes have."""
    cluster = Cluster(3, **options)
    test.addCleanup(cluster.remove)
    root = cluster.leader().http()
    root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    for number in range(50):
        told = root.expect(200, "POST", f"secret/data/{number}", {"data": {"v": number}})
    index = {"X-Vault-Index": told.headers["x-vault-index"]}
    for node in cluster.nodes:
        node.http().expect(200, "GET", "secret/data/49", headers=index)
    return cluster


class QuorumLoss(Runbook):
    """docs/runbooks/quorum-loss.md, as it stands there."""

    def one_of_three_is_left(self):
        cluster = three_nodes(self)
        last = cluster.standbys()[0]
        for node in cluster.nodes:
            if node is not last:
                node.kill()
                harness.shutil.rmtree(node.storage_path)
        self.addCleanup(harness.shutil.rmtree, f"{last.storage_path}.before-recovery", ignore_errors=True)
        return cluster, last

    def test_two_of_three_nodes_are_lost_for_good(self):
        cluster, last = self.one_of_three_is_left()
        look, recover, check = steps("quorum-loss.md", "quorum-loss")
        self.assertEqual([look[0], recover[0], check[0]], ["stopped", "stopped", ""])
        begun = time.monotonic()
        last.stop()
        self.assertIn(f"node {last.node_id} ", self.run_step(last, look[1]))
        self.assertIn("Done", self.run_step(last, recover[1]))
        self.goes_on(cluster, last, begun, check[1])

    def test_the_file_that_vault_documents(self):
        cluster, last = self.one_of_three_is_left()
        ((_, script),) = steps("quorum-loss.md", "peers-json")
        begun = time.monotonic()
        last.stop()
        self.run_step(last, script)
        self.goes_on(cluster, last, begun, steps("quorum-loss.md", "quorum-loss")[2][1])
        self.assertIn("recovering from the loss of the quorum", last.log.read_text())

    def goes_on(self, cluster, last, begun, check):
        last.start()
        cluster.unseal(last)
        last.http().expect(200, "POST", "secret/data/after", {"data": {"v": 1}})
        recovered = time.monotonic() - begun
        listed = self.run_step(last, check)
        print(f"recovered from the loss of two of three nodes in {recovered:.1f} s", flush=True)
        self.assertLess(recovered, 60)
        self.assertIn(last.node_id, listed)
        self.assertEqual([peer["node_id"] for peer in cluster.peers(last)], [last.node_id])
        for number in range(50):
            self.assertEqual(last.http().get(f"secret/data/{number}").data["data"], {"v": number})
        self.rebuild(cluster, last)

    def rebuild(self, cluster, last):
        for node in cluster.nodes:
            if node is not last:
                node.storage_path.mkdir()
                node.start()
                cluster.join(node, through=last)
        cluster.wait_voters(3)
        names = [peer["node_id"] for peer in cluster.peers(last)]
        self.assertEqual(names, ["node1", "node2", "node3"])
        told = last.http().expect(200, "POST", "secret/data/new", {"data": {"v": 2}})
        index = {"X-Vault-Index": told.headers["x-vault-index"]}
        for node in cluster.nodes:
            self.assertEqual(node.http().get("secret/data/new", headers=index).data["data"], {"v": 2})

    def test_a_file_that_cannot_be_followed_is_refused(self):
        cluster = Cluster(1)
        self.addCleanup(cluster.remove)
        node = cluster.nodes[0]
        node.stop()
        (node.storage_path / "raft").mkdir()
        (node.storage_path / "raft/peers.json").write_text('[{"id": "node7", "address": "127.0.0.1:8201"}]')
        with self.assertRaises(harness.ServerError):
            node.start()
        self.assertIn("node7", node.log.read_text())
        (node.storage_path / "raft/peers.json").unlink()
        node.start()
        cluster.unseal(node)
        self.assertEqual(status(node, "sys/health"), 200)


class RebuildNode(Runbook):
    """docs/runbooks/rebuild-node.md, as it stands there."""

    def test_a_damaged_node_is_rebuilt_from_the_others(self):
        cluster = three_nodes(self)
        damaged = cluster.standbys()[0]
        damaged.stop()
        last = sorted(path for path in (damaged.storage_path / "log").iterdir() if path.suffix == ".log")[0]
        content = bytearray(last.read_bytes())
        content[80] ^= 0x40
        last.write_bytes(content)
        with self.assertRaises(harness.ServerError):
            damaged.start()
        self.assertIn("rebuild-node", damaged.log.read_text())
        text = damaged.config.read_text()
        leader = cluster.leader().address
        joining = f'node_id = "{damaged.node_id}"\n  retry_join {{\n    leader_api_addr = "{leader}"\n  }}'
        damaged.config.write_text(text.replace(f'node_id = "{damaged.node_id}"', joining))
        aside, check = steps("rebuild-node.md", "rebuild-node")
        self.assertEqual((aside[0], check[0]), ("stopped", ""))
        self.run_step(damaged, aside[1])
        self.addCleanup(harness.shutil.rmtree, f"{damaged.storage_path}.damaged", ignore_errors=True)
        damaged.start()
        wait_for("the cluster", lambda: damaged.http(token="").get("sys/seal-status").json["initialized"])
        cluster.unseal(damaged)
        cluster.wait_voters(3)
        self.assertIn(damaged.node_id, self.run_step(damaged, check[1]))
        self.assertEqual(damaged.http().get("secret/data/49").data["data"], {"v": 49})
        self.assertEqual(len(cluster.peers()), 3)


class Recover(unittest.TestCase):
    """`operator raft recover`."""

    def recover(self, *flags, code=0):
        command = [str(harness.find_binary()), "operator", "raft", "recover", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def one_behind(self):
        """Three nodes that are stopped, of which the first lacks the last write; answers it and the two others."""
        cluster = three_nodes(self)
        behind = cluster.standbys()[0]
        behind.stop()
        told = cluster.leader().http().expect(200, "POST", "secret/data/last", {"data": {"v": 1}})
        index = {"X-Vault-Index": told.headers["x-vault-index"]}
        ahead = [node for node in cluster.nodes if node is not behind]
        for node in ahead:
            node.http().expect(200, "GET", "secret/data/last", headers=index)
        for node in ahead:
            node.kill()
        return cluster, behind, ahead

    def test_the_latest_is_taken_and_the_others_follow(self):
        cluster, behind, ahead = self.one_behind()
        paths = [f"-path={node.storage_path}" for node in (behind, *ahead)]
        told = json.loads(self.recover(*paths, "-dry-run", "-format=json"))
        self.assertEqual([node["node_id"] for node in told["nodes"]], [node.node_id for node in (behind, *ahead)])
        places = [(node["last"]["term"], node["last"]["index"]) for node in told["nodes"]]
        self.assertGreater(max(places[1:]), places[0])
        self.assertEqual(told["chosen"], told["nodes"][places.index(max(places))]["node_id"])
        for node in told["nodes"]:
            self.assertEqual([member["node_id"] for member in node["members"]], ["node1", "node2", "node3"])
            self.assertLessEqual(node["checkpoint"], node["last"]["index"])
            self.assertIn("T", node["written"])
        again = json.loads(self.recover(*paths, "-dry-run", "-format=json"))
        self.assertEqual(again, told, "a look changes nothing")

        chosen = next(node for node in ahead if node.node_id == told["chosen"])
        self.assertIn("-yes", self.recover(*paths, code=1))
        shown = self.recover(f"-config={chosen.config}", f"-path={behind.storage_path}", f"-peer={behind.node_id}", "-yes")
        self.assertIn(f"followed by {behind.node_id}", shown)
        self.assertIn("Done, by entry", shown)
        for node in (chosen, behind):
            node.start()
            cluster.unseal(node)
        self.assertEqual(chosen.http().get("secret/data/last").data["data"], {"v": 1})
        chosen.http().expect(204, "POST", "sys/storage/raft/promote", {"server_id": behind.node_id})
        wait_for("two voters", lambda: [peer["voter"] for peer in cluster.peers(chosen)] == [True, True])
        told = chosen.http().expect(200, "POST", "secret/data/after", {"data": {"v": 2}})
        index = {"X-Vault-Index": told.headers["x-vault-index"]}
        self.assertEqual(behind.http().get("secret/data/after", headers=index).data["data"], {"v": 2})

    def test_there_is_no_going_back_in_time_unless_that_is_wished_for(self):
        cluster, behind, ahead = self.one_behind()
        report = behind.directory / "report.json"
        report.write_text(self.recover(f"-path={ahead[0].storage_path}", "-dry-run", "-format=json"))
        last = json.loads(report.read_text())["nodes"][0]["last"]["index"]
        mine, theirs = f"-path={behind.storage_path}", f"-report={report}"
        self.assertIn(f"{ahead[0].node_id} ({ahead[0].storage_path}) has more", self.recover(mine, theirs, "-yes", code=1))
        self.assertIn("less than -min-index", self.recover(mine, f"-min-index={last}", "-yes", code=1))
        refused = self.recover(mine, theirs, f"-peer={ahead[0].node_id}", "-allow-data-loss", "-yes", code=1)
        self.assertIn("would have to take it back", refused)
        shown = self.recover(mine, theirs, "-allow-data-loss", "-yes")
        self.assertIn("HAS MORE", shown)
        behind.start()
        cluster.unseal(behind)
        self.assertEqual(behind.http().get("secret/data/49").data["data"], {"v": 49})
        self.assertEqual(behind.http().get("secret/data/last").status, 404)

    def test_what_cannot_be_recovered_is_refused(self):
        cluster = Cluster(1)
        self.addCleanup(cluster.remove)
        node = cluster.nodes[0]
        path = f"-path={node.storage_path}"
        self.assertIn("in use by another process", self.recover(path, "-yes", code=1))
        node.stop()
        nowhere = node.directory / "nowhere"
        self.assertIn("not a Strongroom data directory", self.recover(f"-path={nowhere}", "-yes", code=1))
        self.assertFalse(nowhere.exists())
        other = Cluster(1)
        self.addCleanup(other.remove)
        other.nodes[0].stop()
        told = self.recover(path, f"-path={other.nodes[0].storage_path}", "-yes", code=1)
        self.assertIn("of two clusters", told)
        new = harness.Server.temporary(node_id="new")
        self.addCleanup(new.remove)
        new.start()
        new.stop()
        self.assertIn("belongs to no cluster", self.recover(f"-path={new.storage_path}", "-yes", code=1))
        (node.storage_path / "raft").mkdir()
        (node.storage_path / "raft/peers.json").write_text("[]")
        self.assertIn("remove it first", self.recover(path, "-yes", code=1))
