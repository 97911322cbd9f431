"""Storage in a database that several nodes share: PostgreSQL and etcd, and moving a store from one kind to another."""

import base64
import json
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

from support import fill, harness, wait_until
from cluster import status, wait_for
from databases import Etcd, Postgresql
from test_cluster import Writer

#: How long it may take until a node that is gone is succeeded: the lock's five seconds, and the look for it.
SUCCESSION_LIMIT_S = 25


class Nodes:
    """Nodes over one store in a database: the first is initialised, and all are unsealed."""

    def __init__(self, database, name, size):
        block = database.block(name, ha_enabled="true")
        self.nodes = [
            harness.Server.temporary(storage=database.kind, storage_config=block, node_id=f"node{number}")
            for number in range(1, size + 1)]
        first = self.nodes[0].start().init()
        for node in self.nodes:
            node.shares, node.threshold, node.root_token = first.shares, first.threshold, first.root_token
        first.unseal()
        for node in self.nodes[1:]:
            self.unseal(node.start())

    @staticmethod
    def unseal(node):
        for share in node.shares[: node.threshold]:
            node.http(token="").expect(200, "PUT", "sys/unseal", {"key": share})

    def running(self):
        return [node for node in self.nodes if node.is_running()]

    def leader(self):
        return wait_for("an active node", lambda: next(
            (node for node in self.running() if status(node, "sys/health") == 200), None))

    def standbys(self):
        leader = self.leader()
        return [node for node in self.running() if node is not leader]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.remove()


class InDatabase:
    """What holds for every kind of database; `database` is made for the class."""

    @classmethod
    def setUpClass(cls):
        cls.database = cls.make()

    @classmethod
    def tearDownClass(cls):
        cls.database.stop()

    def server(self, name, **keys):
        server = harness.Server.temporary(
            storage=self.database.kind, storage_config=self.database.block(name, **keys))
        self.addCleanup(server.remove)
        return server

    def test_one_node_keeps_what_it_is_given(self):
        server = fill(self.server("one").ready())
        root = server.http()
        self.assertEqual(root.get("sys/seal-status").json["storage_type"], self.database.kind)
        self.assertFalse(root.get("sys/leader").json["ha_enabled"])
        token = root.post("auth/token/create", {"policies": ["default"], "ttl": "1h"}).json["auth"]["client_token"]
        server.kill()
        server.start().unseal()
        root = server.http()
        self.assertEqual(root.get("secret/data/kept").data["data"], {"value": "kept"})
        self.assertEqual(server.http(token=token).get("auth/token/lookup-self").status, 200)
        self.assertEqual(root.get("sys/storage/raft/configuration").status, 400, "there is no raft")
        server.stop()
        self.assertNotIn("hush-hush", server.log.read_text())

    def test_of_two_that_do_not_share_the_later_one_writes(self):
        first = fill(self.server("two").ready())
        second = self.server("two")
        second.start()
        second.shares, second.threshold, second.root_token = first.shares, first.threshold, first.root_token
        second.unseal()
        second.http().expect(200, "POST", "secret/data/kept", {"data": {"value": "second"}})
        wait_until(lambda: status(first, "sys/health") != 200, 30, "the first notices")
        refused = first.http().post("secret/data/kept", {"data": {"value": "first"}})
        self.assertGreaterEqual(refused.status, 500)
        self.assertEqual(second.http().get("secret/data/kept").data["data"], {"value": "second"})

    def test_the_database_may_go_and_come_back(self):
        server = fill(self.server("gone").ready())
        writer = Writer(server, "w")
        writer.start()
        wait_until(lambda: len(writer.acknowledged) > 5, 30, "writes")
        self.database.restart()
        before = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) > before + 5, 60, "writes go on")
        writer.stop()
        root = server.http()
        for number in writer.acknowledged:
            self.assertEqual(root.get(f"secret/data/w/{number}").data["data"], {"n": number})

    def test_nodes_stand_in_for_one_another(self):
        with Nodes(self.database, "ha", 3) as cluster:
            leader = cluster.leader()
            fill(leader)
            self.through_standbys(cluster)
            self.the_active_node_is_killed(cluster)
            self.the_active_node_steps_down(cluster)
            self.the_active_node_is_sealed(cluster)

    def through_standbys(self, cluster):
        leader, standbys = cluster.leader(), cluster.standbys()
        self.assertEqual(len(standbys), 2)
        for number, node in enumerate(standbys):
            self.assertEqual(status(node, "sys/health"), 429)
            http = node.http()
            http.expect(200, "POST", f"secret/data/through/{number}", {"data": {"n": number}})
            self.assertEqual(leader.http().get(f"secret/data/through/{number}").data["data"], {"n": number})
            self.assertEqual(http.get(f"secret/data/through/{number}").data["data"], {"n": number})
            told = http.get("sys/leader").json
            self.assertEqual((told["ha_enabled"], told["is_self"], told["leader_address"]), (True, False, leader.address))
        # What a standby had read before is not what it says after another has changed it.
        leader.http().expect(200, "POST", "secret/data/kept", {"data": {"value": "new"}})
        for node in standbys:
            self.assertEqual(node.http().get("secret/data/kept").data["data"], {"value": "new"})

    def the_active_node_is_killed(self, cluster):
        leader, standbys = cluster.leader(), cluster.standbys()
        writers = [Writer(node, f"w{number}") for number, node in enumerate(standbys)]
        for writer in writers:
            writer.start()
        wait_until(lambda: all(len(writer.acknowledged) > 5 for writer in writers), 30, "writes")
        leader.kill()
        before = [len(writer.acknowledged) for writer in writers]
        wait_until(lambda: all(len(writer.acknowledged) > count + 5 for writer, count in zip(writers, before)),
                   SUCCESSION_LIMIT_S, "writes go on")
        for writer in writers:
            writer.stop()
        after = cluster.leader()
        self.assertIsNot(after, leader)
        root = after.http()
        for writer in writers:
            for number in writer.acknowledged:
                self.assertEqual(root.get(f"secret/data/{writer.name_}/{number}").data["data"], {"n": number})
        cluster.unseal(leader.start())
        wait_until(lambda: status(leader, "sys/health") == 429, 30, "it is back")

    def the_active_node_steps_down(self, cluster):
        leader = cluster.leader()
        leader.http().expect(204, "PUT", "sys/step-down")
        wait_until(lambda: cluster.leader() is not leader, SUCCESSION_LIMIT_S, "another leads")
        leader.http().expect(200, "POST", "secret/data/stepped", {"data": {"n": 1}})
        self.assertEqual(cluster.leader().http().get("secret/data/stepped").data["data"], {"n": 1})

    def the_active_node_is_sealed(self, cluster):
        leader = cluster.leader()
        leader.http().expect(204, "PUT", "sys/seal")
        wait_until(lambda: cluster.leader() is not leader, SUCCESSION_LIMIT_S, "another leads")
        cluster.leader().http().expect(200, "POST", "secret/data/sealed", {"data": {"n": 1}})
        cluster.unseal(leader)
        wait_until(lambda: status(leader, "sys/health") == 429, 30, "it is back")
        self.assertEqual(leader.http().get("secret/data/sealed").data["data"], {"n": 1})


class InPostgresql(InDatabase, unittest.TestCase):
    make = Postgresql


class InEtcd(InDatabase, unittest.TestCase):
    make = Etcd


class Migration(unittest.TestCase):
    """From raft to PostgreSQL to etcd to raft, with what was written on the way."""

    @classmethod
    def setUpClass(cls):
        cls.postgresql, cls.etcd = Postgresql(), Etcd()

    @classmethod
    def tearDownClass(cls):
        cls.postgresql.stop()
        cls.etcd.stop()

    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="strongroom-migrate-"))
        self.addCleanup(harness.shutil.rmtree, self.directory, ignore_errors=True)

    def server(self, kind, block):
        server = harness.Server.temporary(storage=kind, storage_config=block)
        self.addCleanup(server.remove)
        return server

    def command(self, source, destination, *flags):
        """The command's words; `source` and `destination` are kinds with what their blocks have in them."""
        config = self.directory / "migrate.hcl"
        config.write_text("".join(f'storage_{which} "{kind}" {{\n{block}}}\n' for which, (kind, block) in
                                  (("source", source), ("destination", destination)))
                          + 'cluster_addr = "https://127.0.0.1:8201"\n')
        return [str(harness.find_binary()), "operator", "migrate", f"-config={config}", *flags]

    def migrate(self, source, destination, *flags):
        return subprocess.run(self.command(source, destination, *flags), capture_output=True, text=True, timeout=300)

    def block_of(self, server):
        own = f'  path = "{server.storage_path}"\n  node_id = "{server.node_id}"\n' if server.storage == "raft" else ""
        return server.storage, own + server.storage_config

    def moved(self, source, destination):
        """Moves a store; starts the server that has it now."""
        source.stop()
        done = self.migrate(self.block_of(source), self.block_of(destination))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Success! All of the keys have been migrated", done.stdout)
        destination.shares, destination.threshold, destination.root_token = source.shares, source.threshold, source.root_token
        return destination.start().unseal()

    def test_around(self):
        servers = [
            self.server("raft", ""),
            self.server("postgresql", self.postgresql.block("around")),
            self.server("etcd", self.etcd.block("around")),
            self.server("raft", ""),
        ]
        at = fill(servers[0].ready())
        for number in range(300):
            at.http().expect(200, "POST", f"secret/data/many/{number}", {"data": {"n": number}})
        token = at.http().post("auth/token/create", {"policies": ["root"], "ttl": "1h"}).json["auth"]["client_token"]
        for step, following in enumerate(servers[1:]):
            at.http().expect(200, "POST", f"secret/data/on-the-way/{step}", {"data": {"n": step}})
            at = self.moved(at, following)
            http = at.http(token=token)
            self.assertEqual(http.get("secret/data/kept").data["data"], {"value": "kept"})
            self.assertEqual(len(http.list("secret/metadata/many").data["keys"]), 300)
            self.assertEqual(http.get(f"secret/data/on-the-way/{step}").data["data"], {"n": step})

    def test_what_is_in_use_or_not_empty_is_refused(self):
        source = fill(self.server("raft", "").ready())
        destination = self.server("postgresql", self.postgresql.block("refused"))
        running = self.migrate(self.block_of(source), self.block_of(destination))
        self.assertEqual(running.returncode, 2)
        self.assertIn("in use by another process", running.stderr)
        self.moved(source, destination)
        again = self.migrate(self.block_of(source), self.block_of(destination))
        self.assertEqual(again.returncode, 2)
        self.assertIn("a server uses it", again.stderr)
        destination.stop()
        again = self.migrate(self.block_of(source), self.block_of(destination))
        self.assertIn("the destination is not empty", again.stderr)
        reset = self.migrate(self.block_of(source), self.block_of(destination), "-reset")
        self.assertIn("no unfinished migration", reset.stderr)
        self.assertNotIn("hush-hush", again.stderr + reset.stderr + running.stderr)

    def test_what_breaks_off_goes_on(self):
        source = fill(self.server("raft", "").ready())
        root = source.http()
        for number in range(500):
            root.expect(200, "POST", f"secret/data/many/{number}", {"data": {"n": "x" * 2000}})
        source.stop()
        destination = self.server("etcd", self.etcd.block("broken"))
        self.break_off(source, destination)
        destination.start()
        refused = destination.http(token="").put("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.assertEqual(refused.status, 400)
        self.assertIn("a migration to this storage has not been finished", refused.text)
        destination.stop()
        self.moved(source, destination)
        self.assertEqual(len(destination.http().list("secret/metadata/many").data["keys"]), 500)

    def break_off(self, source, destination):
        """Kills the command once it has begun to write."""
        words = self.command(self.block_of(source), self.block_of(destination), "-max-parallel=1")
        command = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.keys("/broken/") > 20, 60, "something is written")
        command.kill()
        command.wait()

    def keys(self, prefix):
        """How many keys etcd has under a prefix."""
        encoded = [base64.b64encode(text.encode()).decode() for text in (prefix, prefix[:-1] + "0")]
        body = json.dumps({"key": encoded[0], "range_end": encoded[1], "count_only": True}).encode()
        with urllib.request.urlopen(f"{self.etcd.url}/v3/kv/range", body, timeout=10) as answer:
            return int(json.load(answer).get("count", 0))
