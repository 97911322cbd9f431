"""Snapshots: saved and restored through the command line and the API, on one node and on three."""

import gzip
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import threading
import unittest
import urllib.parse
from pathlib import Path

from support import harness, wait_until
from cluster import Cluster, status, wait_for
from object_store import BUCKET, ObjectStore

OTHER_KEYS = ("could not verify hash file, possibly the snapshot is using a different set of unseal keys; "
              "use the snapshot-force API to bypass this check")
GZIP = {"Content-Type": "application/gzip"}


def cli(node, *words):
    """What the command line does; its outcome."""
    environment = os.environ | {"VAULT_ADDR": node.address, "VAULT_TOKEN": node.root_token, "HOME": str(node.directory)}
    command = [harness.find_binary(), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-snapshots-"))
        self.addCleanup(harness.shutil.rmtree, self.folder)

    def cli(self, node, *words):
        done = cli(node, *words)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def save(self, node, name="saved"):
        path = self.folder / name
        self.cli(node, "operator", "raft", "snapshot", "save", str(path))
        return path

    def secrets(self, node):
        """What is in the mount, by path, as `node` tells it."""
        root = node.http()
        listed = root.get("secret/metadata?list=true").data
        return {key: root.get(f"secret/data/{key}").data["data"]["v"] for key in (listed or {"keys": []})["keys"]}

    def fill(self, node, count=20):
        root = node.http()
        root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        for number in range(count):
            told = root.expect(200, "POST", f"secret/data/{number:03}", {"data": {"v": number}})
        return {f"{number:03}": number for number in range(count)}, {"X-Vault-Index": told.headers["x-vault-index"]}


class OnThreeNodes(Case):
    def setUp(self):
        super().setUp()
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.remove)
        self.leader = self.cluster.leader()
        self.leader.enable_file_audit()
        self.kept, self.index = self.fill(self.leader)

    def test_a_snapshot_is_saved_and_restored_through_a_standby(self):
        standby, root = self.cluster.standbys()[0], self.leader.http()
        token = root.expect(200, "POST", "auth/token/create", {"ttl": "1h"}).json["auth"]["client_token"]
        path = self.save(standby)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        root.expect(204, "POST", "auth/token/revoke", {"token": token})
        root.expect(200, "POST", "secret/data/000", {"data": {"v": "changed"}})
        root.expect(200, "POST", "secret/data/later", {"data": {"v": "later"}})
        root.expect(204, "DELETE", "secret/metadata/001")
        root.expect(204, "DELETE", "sys/mounts/secret")
        self.cli(standby, "operator", "raft", "snapshot", "restore", str(path))
        for node in self.cluster.nodes:
            wait_for(f"the restored state on {node.node_id}", lambda node=node: self.secrets(node) == self.kept)
            self.assertEqual(node.http(token=token).get("auth/token/lookup-self").status, 200)
        # The cluster goes on: writes, tokens, another leader.
        self.cluster.leader().kill()
        new = self.cluster.leader()
        new.http().expect(200, "POST", "secret/data/after", {"data": {"v": "after"}})
        self.assertEqual(self.secrets(new), self.kept | {"after": "after"})

    def test_the_archive_is_what_vaults_clients_look_for(self):
        self.leader.http().expect(200, "POST", "secret/data/password", {"data": {"v": "hunter2"}})
        path = self.save(self.leader)
        with tarfile.open(path, "r:gz") as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}
        self.assertEqual(list(members), ["meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"])
        self.assertTrue(members["SHA256SUMS.sealed"])
        meta = json.loads(members["meta.json"])
        self.assertEqual(meta["Size"], len(members["state.bin"]))
        self.assertEqual(sorted(server["ID"] for server in meta["Servers"]), ["node1", "node2", "node3"])
        self.assertNotIn(b"hunter2", members["state.bin"])

    def test_what_is_no_snapshot_changes_nothing(self):
        whole = self.save(self.leader).read_bytes()
        altered = bytearray(gzip.decompress(whole))
        altered[2000] ^= 1
        bad = {b"": "failed to read snapshot", b"hunter2": "failed to read snapshot",
               whole[: len(whole) // 2]: "failed to read snapshot", whole[:-4]: "failed to read snapshot",
               gzip.compress(bytes(altered)): "hash check failed"}
        for node in (self.leader, self.cluster.standbys()[0]):
            for body, text in bad.items():
                reply = node.http().post("sys/storage/raft/snapshot", body, headers=GZIP)
                self.assertEqual(reply.status, 400, reply.text)
                self.assertIn(text, reply.text)
                self.assertNotIn("hunter2", reply.text)
            reply = node.http(token="nobody").post("sys/storage/raft/snapshot", whole, headers=GZIP)
            self.assertEqual(reply.status, 403)
        self.assertEqual(self.secrets(self.leader), self.kept)
        self.assertEqual(list(self.leader.storage_path.rglob("*.snapshot")), [])

    def test_one_that_dribbles_does_not_keep_others_out(self):
        path, url = self.save(self.leader), urllib.parse.urlsplit(self.leader.address)
        dribbling = socket.create_connection((url.hostname, url.port))
        self.addCleanup(dribbling.close)
        dribbling.sendall(f"POST /v1/sys/storage/raft/snapshot HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {self.leader.root_token}\r\n"
                          f"Content-Length: 100000\r\n\r\n".encode() + path.read_bytes()[:20])
        self.leader.http().expect(200, "POST", "secret/data/000", {"data": {"v": "changed"}})
        self.cli(self.leader, "operator", "raft", "snapshot", "restore", str(path))
        self.assertEqual(self.secrets(self.leader), self.kept)

    def test_a_snapshot_of_another_cluster_is_refused_even_by_force(self):
        with harness.Server.temporary() as other:
            other.ready()
            path = self.save(other)
        for force, text in ((), OTHER_KEYS), (("-force",), "restore it on a single node"):
            done = cli(self.leader, "operator", "raft", "snapshot", "restore", *force, str(path))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)
        self.assertEqual(self.secrets(self.leader), self.kept)

    def test_keys_made_since_go_and_the_nodes_go_on(self):
        path, root = self.save(self.leader), self.leader.http()
        root.expect(204, "POST", "sys/rotate")
        root.expect(200, "POST", "secret/data/000", {"data": {"v": "under the new key"}})
        self.cli(self.leader, "operator", "raft", "snapshot", "restore", str(path))
        self.assertEqual(self.secrets(self.leader), self.kept)
        self.assertEqual(root.get("sys/key-status").data["term"], 1)
        self.leader.kill()
        new = self.cluster.leader()
        new.http().expect(200, "POST", "secret/data/after", {"data": {"v": "after"}})
        self.leader.start()
        self.cluster.unseal(self.leader)
        wait_for("the node that was away", lambda: self.secrets(self.leader) == self.kept | {"after": "after"})

    def test_writes_go_on_while_a_snapshot_is_saved_and_fail_clearly_while_one_is_restored(self):
        path, done, told = self.save(self.leader), threading.Event(), []

        def write(node):
            connection, number = node.http(), 0
            while not done.is_set():
                number += 1
                told.append(connection.post(f"secret/data/{node.node_id}-{number}", {"data": {"v": number}}))

        writers = [threading.Thread(target=write, args=(node,), daemon=True) for node in self.cluster.nodes]
        for writer in writers:
            writer.start()
        for _ in range(3):
            self.save(self.leader, "another")
        self.assertEqual({reply.status for reply in told}, {200})
        for _ in range(3):
            self.cli(self.leader, "operator", "raft", "snapshot", "restore", str(path))
        done.set()
        for writer in writers:
            writer.join(60)
        self.assertLessEqual({reply.status for reply in told}, {200, 500, 502, 503}, "clients try again")
        secrets = self.secrets(self.leader)
        self.assertLessEqual(self.kept.items(), secrets.items())
        for node in self.cluster.standbys():
            wait_for("the same on all nodes", lambda node=node: self.secrets(node) == secrets)


class OnOneNode(Case):
    def test_a_snapshot_of_another_cluster_is_taken_by_force_and_its_keys_unseal(self):
        first = Cluster(1, shares=3, threshold=2)
        self.addCleanup(first.remove)
        kept, _ = self.fill(first.nodes[0])
        path = self.save(first.nodes[0])
        second = Cluster(1)
        self.addCleanup(second.remove)
        node = second.nodes[0]
        node.enable_file_audit()
        done = cli(node, "operator", "raft", "snapshot", "restore", str(path))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(OTHER_KEYS, done.stderr)
        self.cli(node, "operator", "raft", "snapshot", "restore", "-force", str(path))
        self.assertEqual(status(node, "sys/health"), 503, "sealed")
        own = node.shares[0]
        refused = node.http(token="").put("sys/unseal", {"key": own})
        self.assertEqual(refused.status, 400, refused.text)
        node.shares, node.threshold, node.root_token = (
            first.nodes[0].shares, first.nodes[0].threshold, first.nodes[0].root_token)
        second.unseal(node)
        node.wait_active()
        self.assertEqual(self.secrets(node), kept)
        # It is a cluster of its own: others join it, not the one that the snapshot is of.
        for _ in range(2):
            second.join(second._add().start())
        second.wait_voters(3)
        node.stop()
        new = second.leader()
        self.assertEqual(self.secrets(new), kept)
        new.http().expect(200, "POST", "secret/data/after", {"data": {"v": 1}})

    def test_a_node_that_dies_while_it_restores_has_one_state_or_the_other(self):
        cluster = Cluster(1)
        self.addCleanup(cluster.remove)
        node = cluster.nodes[0]
        root = node.http()
        root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "1"}})
        for number in range(40):
            root.expect(204, "POST", f"secret/{number}", {"v": "x" * 300_000})
        archive = self.save(node).read_bytes()
        seen = set()
        for delay in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0):
            root = node.http()
            root.expect(204, "POST", "secret/later", {"v": "1"})
            thread = threading.Thread(target=self.try_to_restore, args=(node, archive))
            thread.start()
            thread.join(delay)
            node.kill()
            thread.join(30)
            node.start().unseal()
            root = node.http()
            keys = set(root.list("secret").data["keys"])
            there = "later" in keys
            self.assertEqual(keys - {"later"}, {str(number) for number in range(40)})
            seen.add(there)
            self.assertEqual(list(node.storage_path.rglob("*.snapshot")), [])
        self.assertIn(True, seen)

    @staticmethod
    def try_to_restore(node, archive):
        try:
            node.http().post("sys/storage/raft/snapshot", archive, headers=GZIP)
        except (OSError, harness.http.client.HTTPException):
            pass

    def test_storage_that_is_no_raft_has_no_snapshots(self):
        with harness.Server.temporary(storage="inmem") as server:
            server.ready()
            reply = server.http().get("sys/storage/raft/snapshot")
            self.assertEqual((reply.status, reply.errors), (400, ["raft storage is not in use"]))
            reply = server.http().post("sys/storage/raft/snapshot", b"x", headers=GZIP)
            self.assertEqual((reply.status, reply.errors), (400, ["raft storage is not in use"]))



class OneConfigured(Case):
    """One node, whose automated snapshots a test configures."""

    CONFIG = "sys/storage/raft/snapshot-auto/config"
    STATUS = "sys/storage/raft/snapshot-auto/status"
    ENVIRONMENT = ()

    def setUp(self):
        super().setUp()
        self.cluster = Cluster(1, launcher=("env", *self.ENVIRONMENT))
        self.addCleanup(self.cluster.remove)
        self.node = self.cluster.nodes[0]
        self.root = self.node.http()

    def status(self, name):
        return self.root.get(f"{self.STATUS}/{name}").data

    def wait_status(self, name, what, fits, limit_s=90):
        """The status of a configuration, once it is as wanted."""
        seen = []

        def found():
            seen[:] = [self.status(name)]
            return seen[0] if fits(seen[0]) else None
        try:
            return wait_until(found, limit_s, what, 0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; {seen[0]}\n{self.node.last_log()}") from None


class Automated(OneConfigured):
    def body(self, **more):
        return {"interval": "1s", "retain": 2, "storage_type": "local", "path_prefix": str(self.folder),
                "local_max_space": 1 << 30, **more}

    def taken(self):
        return sorted(self.folder.glob("*.snap"))

    def test_snapshots_are_taken_and_the_oldest_go(self):
        kept, _ = self.fill(self.node)
        self.root.expect(204, "POST", f"{self.CONFIG}/often", self.body(file_prefix="ours"))
        self.assertEqual(self.root.get(f"{self.CONFIG}/often").data, {
            "interval": 1, "retain": 2, "path_prefix": str(self.folder), "file_prefix": "ours", "storage_type": "local",
            "local_max_space": 1 << 30})
        self.assertEqual(self.root.list(self.CONFIG).data, {"keys": ["often"]})
        first = wait_until(self.taken, 10, "a first snapshot")[0]
        self.assertEqual(first.stat().st_mode & 0o777, 0o600)
        wait_until(lambda: len(self.taken()) == 2 and first not in self.taken(), 20, "three snapshots, of which two are kept")
        status = self.root.get(f"{self.STATUS}/often").data
        self.assertEqual((status["consecutive_errors"], status["last_snapshot_error"]), (0, ""))
        self.assertTrue(status["last_snapshot_url"].startswith(f"file://{self.folder}/ours-"))
        self.root.expect(204, "POST", f"{self.CONFIG}/often", {"interval": "1h"})
        self.assertEqual(self.root.get(f"{self.CONFIG}/often").data["interval"], 3600)
        self.assertGreater(self.root.get(f"{self.STATUS}/often").data["next_snapshot_start"], status["next_snapshot_start"])
        self.root.expect(204, "DELETE", f"{self.CONFIG}/often")
        self.assertEqual(self.root.get(f"{self.STATUS}/often").status, 404)
        last = self.taken()[-1]
        self.root.expect(200, "POST", "secret/data/later", {"data": {"v": 1}})
        self.cli(self.node, "operator", "raft", "snapshot", "restore", str(last))
        self.assertEqual(self.secrets(self.node), kept)

    def test_failures_are_seen_and_it_is_tried_again(self):
        folder = self.folder / "not-there"
        self.root.expect(204, "POST", f"{self.CONFIG}/bad", self.body(path_prefix=str(folder)))
        failed = wait_until(lambda: self.root.get(f"{self.STATUS}/bad").data["consecutive_errors"] >= 2, 20, "two failures")
        self.assertTrue(failed)
        self.assertIn("No such file", self.root.get(f"{self.STATUS}/bad").data["last_snapshot_error"])
        self.assertIn("automated snapshot failed", self.node.log.read_text())
        folder.mkdir()
        wait_until(lambda: self.root.get(f"{self.STATUS}/bad").data["consecutive_errors"] == 0, 20, "a success")
        self.assertTrue(list(folder.glob("vault-snapshot-*.snap")))

    def test_what_makes_no_sense_is_refused(self):
        for more, text in (({"storage_type": "google-gcs"}, "not supported"), ({"storage_type": "tape"}, "invalid storage_type"),
                           ({"aws_s3_bucket": "b"}, "storage_type aws-s3 only"), ({"autoload_enabled": True}, "not supported"),
                           ({"interval": 0}, "interval"), ({"retain": -1}, "retain"), ({"path_prefix": "here"}, "path_prefix"),
                           ({"local_max_space": 0}, "local_max_space"), ({"file_prefix": "a/b"}, "file_prefix")):
            reply = self.root.post(f"{self.CONFIG}/x", self.body(**more))
            self.assertEqual(reply.status, 400, more)
            self.assertIn(text, reply.errors[0])
        for missing in ("interval", "path_prefix", "storage_type", "local_max_space"):
            body = self.body()
            del body[missing]
            self.assertEqual(self.root.post(f"{self.CONFIG}/x", body).errors, [f"missing {missing}"])
        self.root.expect(204, "PUT", "sys/policies/acl/p", {"policy": 'path "sys/storage/*" { capabilities = ["create", "update"] }'})
        token = self.root.expect(200, "POST", "auth/token/create", {"policies": ["p"]}).json["auth"]["client_token"]
        self.assertEqual(self.node.http(token=token).post(f"{self.CONFIG}/x", self.body()).status, 403, "sudo is needed")
        self.assertEqual(self.root.list(self.CONFIG).status, 404)


class AutomatedIntoABucket(OneConfigured):
    @classmethod
    def setUpClass(cls):
        cls.store = ObjectStore()
        cls.addClassCleanup(cls.store.stop)

    def setUp(self):
        super().setUp()
        # Of each test its own, as they share the bucket.
        self.path = self.id().rsplit(".", 1)[1]

    def configure(self, name="often", expected=204, **more):
        body = {"interval": "1h", "path_prefix": self.path, **more}
        return self.root.expect(expected, "POST", f"{self.CONFIG}/{name}", body)

    def names(self):
        return [name for name in self.store.names() if name.startswith(f"{self.path}/")]

    def unfinished(self):
        """Uploads of this test's; the server of another may have been stopped in the middle of one."""
        return [name for name in self.store.unfinished() if name.startswith(f"{self.path}/")]

    def fill_large(self):
        """More than fits into a part; what of it is kept."""
        kept, _ = self.fill(self.node)
        self.root.expect(204, "POST", "sys/mounts/large", {"type": "kv"})
        for number in range(50):
            self.root.expect(204, "POST", f"large/{number}", {"v": os.urandom(150_000).hex()})
        return kept

    def succeeded(self, name="often"):
        return self.wait_status(name, "a snapshot", lambda status: status["last_snapshot_url"] and not status["consecutive_errors"])

    def failed(self, text, name="often"):
        return self.wait_status(name, f"a failure for {text}", lambda status: text in status["last_snapshot_error"])

    def test_a_snapshot_arrives_in_parts_and_is_restored(self):
        kept = self.fill_large()
        self.configure(**self.store.config(aws_s3_server_side_encryption=True))
        status = self.succeeded()
        name, = self.names()
        self.assertRegex(name, rf"^{self.path}/vault-snapshot-[0-9]+\.snap$")
        self.assertEqual(status["last_snapshot_url"], f"s3://{BUCKET}/{name}")
        self.assertEqual(self.store.encryption(name)[0], "AES256")
        self.assertEqual(self.unfinished(), [])
        fetched = self.folder / "fetched"
        fetched.write_bytes(self.store.get(name))
        self.assertGreater(fetched.stat().st_size, 8 << 20, "more than a part")
        self.root.expect(200, "POST", "secret/data/later", {"data": {"v": 1}})
        self.cli(self.node, "operator", "raft", "snapshot", "restore", str(fetched))
        self.assertEqual(self.secrets(self.node), kept)
        self.assertEqual(len(self.root.list("large").data["keys"]), 50)

    def test_as_many_are_kept_as_wanted_and_others_left_alone(self):
        others = [f"{self.path}/ours-x.snap", f"{self.path}/theirs-1.snap", f"{self.path}/ours-1/ours-2.snap"]
        for name in others:
            self.store.put(name, b"")
        self.configure(**self.store.config(interval="1s", retain=2, file_prefix="ours"))

        def ours():
            return [name for name in self.names() if name not in others]
        first = wait_until(ours, 60, "a first snapshot")[0]
        wait_until(lambda: len(ours()) >= 2 and first not in ours(), 60, "three snapshots, of which two are kept", 0.1)
        self.root.expect(204, "DELETE", f"{self.CONFIG}/often")
        wait_until(lambda: len(ours()) == 2, 60, "two to be kept", 0.1)
        self.assertLessEqual(set(others), set(self.names()))

    def test_what_is_wrong_with_a_bucket_or_key_is_told_and_set_right(self):
        self.configure(**self.store.config(aws_s3_bucket="nowhere"))
        self.failed("404 Not Found NoSuchBucket")
        self.configure(aws_s3_bucket=BUCKET, aws_access_key_id=self.store.key_id, aws_secret_access_key="hunter2")
        self.failed("SignatureDoesNotMatch")
        self.assertIn("automated snapshot failed", self.node.log.read_text())
        self.configure(aws_access_key_id=self.store.key_id, aws_secret_access_key=self.store.secret)
        status = self.succeeded()
        self.assertEqual(status["last_snapshot_error"], "")

    def test_a_server_that_is_away_is_told_of_and_it_goes_on_by_itself(self):
        self.configure(**self.store.config(interval="2s"))
        before = self.succeeded()["last_snapshot_url"]
        self.store.pause()
        try:
            self.failed("connection refused")
            self.wait_status("often", "another failure", lambda status: status["consecutive_errors"] >= 2)
        finally:
            self.store.resume()
        status = self.wait_status("often", "a snapshot after that", lambda status: status["consecutive_errors"] == 0)
        self.assertNotEqual(status["last_snapshot_url"], before)

    def test_a_server_that_is_busy_is_asked_again(self):
        self.fill_large()
        self.store.fail(503, 3, "PUT", "partNumber")
        self.configure(**self.store.config())
        status = self.succeeded()
        self.assertEqual((self.store.failures_left(), status["last_snapshot_error"]), (0, ""))
        # The first try was good: no other one was made.
        self.assertEqual(len(self.names()), 1)

    def test_what_breaks_off_leaves_nothing_behind(self):
        self.fill_large()
        self.store.fail(403, 1, "PUT", "partNumber=2")
        self.configure(**self.store.config())
        self.failed("403")
        self.assertEqual((self.unfinished(), self.names()), ([], []))
        self.assertEqual(self.succeeded()["last_snapshot_error"], "")

    def test_who_may_not_ask_is_told_before_anything_is_sent(self):
        self.configure(**self.store.config(aws_access_key_id="", aws_secret_access_key=""))
        self.failed("no credentials: set aws_access_key_id")
        self.assertEqual(self.names(), [])

    def test_what_makes_no_sense_is_refused(self):
        for more, text in (({"aws_s3_bucket": ""}, "missing aws_s3_bucket"), ({"aws_s3_region": ""}, "missing aws_s3_region"),
                           ({"aws_s3_endpoint": "ftp://x"}, "aws_s3_endpoint must be"), ({"path_prefix": "a/../b"}, "path_prefix"),
                           ({"aws_secret_access_key": ""}, "must be given together"), ({"local_max_space": 1}, "local only"),
                           ({"aws_s3_kms_key": "k"}, "aws_s3_kms_key needs"), ({"autoload_enabled": True}, "not supported"),
                           ({"aws_s3_enable_kms": True, "aws_s3_server_side_encryption": True}, "cannot be used with")):
            reply = self.configure(expected=400, **self.store.config(**more) | more)
            self.assertIn(text, reply.errors[0])
            self.assertNotIn(self.store.secret, reply.text)


class SecretsOfABucket(OneConfigured):
    SECRETS = ("hunter2hunter2hunter2", "hunter3hunter3hunter3")
    ENVIRONMENT = ("VAULT_LOG_LEVEL=trace",)

    def test_secrets_are_neither_answered_nor_logged_nor_kept_in_clear(self):
        store = ObjectStore()
        self.addCleanup(store.stop)
        self.node.enable_file_audit()
        key, token = self.SECRETS
        body = store.config(aws_secret_access_key=key, aws_session_token=token, interval="1h", path_prefix="")
        self.root.expect(204, "POST", f"{self.CONFIG}/secret", body)
        self.wait_status("secret", "a failure", lambda status: status["consecutive_errors"] > 0)
        read = self.root.expect(200, "GET", f"{self.CONFIG}/secret")
        self.assertEqual(read.data, {
            "interval": 3600, "retain": 1, "path_prefix": "", "file_prefix": "vault-snapshot", "storage_type": "aws-s3",
            "aws_s3_bucket": BUCKET, "aws_s3_region": body["aws_s3_region"], "aws_s3_endpoint": store.endpoint,
            "aws_access_key_id": store.key_id, "aws_s3_disable_tls": True, "aws_s3_force_path_style": True,
            "aws_s3_enable_kms": False, "aws_s3_server_side_encryption": False, "aws_s3_kms_key": ""})
        told = read.text + self.root.expect(200, "GET", f"{self.STATUS}/secret").text
        self.assertIn("TRACE", self.node.log.read_text(), "all is logged that can be")
        kept = [path for path in self.node.directory.rglob("*") if path.is_file()]
        for secret in self.SECRETS:
            self.assertNotIn(secret, told)
            for path in kept:
                self.assertNotIn(secret.encode(), path.read_bytes(), path)


class KeysOfTheEnvironment(OneConfigured):
    def setUp(self):
        self.store = ObjectStore()
        self.addCleanup(self.store.stop)
        self.ENVIRONMENT = (f"AWS_ACCESS_KEY_ID={self.store.key_id}", f"AWS_SECRET_ACCESS_KEY={self.store.secret}")
        super().setUp()

    def test_keys_of_the_environment_are_taken_where_the_configuration_has_none(self):
        body = self.store.config(interval="1h", path_prefix="/env/", aws_s3_endpoint=self.store.endpoint.split("//")[1])
        del body["aws_access_key_id"], body["aws_secret_access_key"]
        self.root.expect(204, "POST", f"{self.CONFIG}/env", body)
        status = self.wait_status("env", "a snapshot", lambda status: status["last_snapshot_url"])
        self.assertEqual(self.store.names(), [status["last_snapshot_url"].removeprefix(f"s3://{BUCKET}/")])
        self.assertTrue(self.store.names()[0].startswith("env/vault-snapshot-"))


if __name__ == "__main__":
    unittest.main()
