"""No space left: for the data, and for the audit file. Each lies on a small file system of its own, which needs the
right to mount one: root's, or that of a user namespace (`run` makes one)."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support import KEPT, fill, harness, wait_until
from cluster import Cluster, wait_for

MIB = 1 << 20
DATA_BYTES = 64 * MIB
RESUME_LIMIT_S = 10
# Waiting for an election takes ten seconds.
START_OR_END_LIMIT_S = 20


class SmallDisk:
    """A file system in memory of `size` bytes, mounted at `path`."""

    def __init__(self, path, size):
        self.path, self.ballast = Path(path), Path(path) / "ballast"
        self.path.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(self.path)],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            raise AssertionError(f"these tests need the right to mount a file system (tests/trouble/run asks for it): {mounted.stderr.strip()}")

    def free(self):
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def leave(self, bytes_):
        """Fills the disk until `bytes_` are left; none: to the last page."""
        with self.ballast.open("ab", buffering=0) as file:
            try:
                while (more := self.free() - bytes_) > 0:
                    file.write(b"\0" * min(more, MIB))
            except OSError:
                pass
        return self

    def make_room(self):
        self.ballast.unlink(missing_ok=True)

    def unmount(self):
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


class Full(unittest.TestCase):
    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
        # Last of all: with the disk still mounted, its directory could not be removed.
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def ready(self, disk_at, size):
        """A server with something in it, and a small disk at a path below its directory."""
        disk = SmallDisk(self.directory / disk_at, size)
        self.addCleanup(disk.unmount)
        server = harness.Server(None, self.directory)
        self.addCleanup(server.remove)
        fill(server.ready())
        self.client = server.http(timeout_s=10)
        self.addCleanup(self.client.close)
        return server, disk

    def listed(self):
        return {mount: self.client.request("SCAN", mount).data["keys"] for mount in KEPT}

    def assert_reads(self):
        self.assertEqual(self.client.get("sys/health").status, 200)
        self.assertEqual(self.client.get("kv/kept").data, {"value": "kept"})
        self.assertEqual(self.client.get("secret/data/kept").data["data"], {"value": "kept"})
        self.assertEqual(self.listed(), KEPT)


class FullData(Full):
    def test_writes_are_refused_and_resume(self):
        server, disk = self.ready("data", DATA_BYTES)
        accessors = self.client.list("auth/token/accessors").data["keys"]
        mounts = self.client.get("sys/mounts").data.keys()
        disk.leave(0)
        wait_until(lambda: self.client.post("kv/kept", {"value": "kept"}).status != 204, 5, "the server notices")
        for method, path, body in (
            ("POST", "kv/new", {"value": "new"}), ("POST", "kv/kept", {"value": "new"}), ("DELETE", "kv/kept", None),
            ("POST", "secret/data/new", {"data": {"value": "new"}}), ("POST", "secret/data/kept", {"data": {"value": "new"}}),
            ("DELETE", "secret/metadata/kept", None), ("POST", "auth/token/create", {}), ("POST", "sys/mounts/new", {"type": "kv"}),
            ("POST", "sys/policies/acl/new", {"policy": 'path "a" { capabilities = ["read"] }'}), ("POST", "sys/auth/userpass", {"type": "userpass"}),
        ):
            with self.subTest(method=method, path=path):
                answer = self.client.request(method, path, body)
                self.assertEqual(answer.status, 507, answer.text)
                self.assertIn("space", answer.errors[0])
        wrapped = self.client.get("kv/kept", headers={"X-Vault-Wrap-TTL": "60s"})
        self.assertEqual(wrapped.status, 507, "what cannot be kept cannot be wrapped")
        self.assertNotIn("kept\"", wrapped.text)
        self.assert_reads()
        self.assertEqual(self.client.list("auth/token/accessors").data["keys"], accessors)
        self.assertEqual(self.client.get("sys/mounts").data.keys(), mounts)
        self.assertEqual(self.client.get("sys/policies/acl/new").status, 404)
        reasons = [line for line in server.last_log(10_000).splitlines() if "out of space: writes fail" in line]
        self.assertEqual(len(reasons), 1, "that there is no space is in the log, once")

        disk.make_room()
        wait_until(lambda: self.client.post("kv/new", {"value": "new"}).status == 204, RESUME_LIMIT_S, "writes resume")
        self.client.expect(200, "POST", "secret/data/kept", {"data": {"value": "newer"}})
        server.stop()
        self.assertEqual(server.process.returncode, 0)
        server.start().unseal()
        self.client.close()
        self.assertEqual(self.client.get("kv/new").data, {"value": "new"})
        found = self.client.get("secret/data/kept").data
        self.assertEqual((found["data"], found["metadata"]["version"]), ({"value": "newer"}, 2))

    def test_filled_by_its_own_writes(self):
        """The disk fills up under load. What was acknowledged stays, what was refused is not there, whatever happens next."""
        # Room for what is acknowledged twice over: merging it into the table does not free the log at once.
        server, disk = self.ready("data", 3 * DATA_BYTES)
        disk.leave(24 * MIB)
        acknowledged, refused, odd = {}, set(), []

        def write(writer):
            client = server.http(timeout_s=20)
            for number in range(600):
                key, value = f"{writer}/{number}", os.urandom(24 << 10).hex()
                answer = client.post(f"kv/load/{key}", {"value": value})
                if answer.status == 204:
                    acknowledged[key] = value
                elif answer.status == 507:
                    refused.add(key)
                    if len(refused) > 200:
                        break
                else:
                    odd.append(answer)
            client.close()

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.assertEqual(odd, [])
        self.assertGreater(len(acknowledged), 20)
        self.assertGreater(len(refused), 20)
        self.assert_holds(acknowledged, refused)

        # Killed with a full disk, it starts again as soon as there is room, if not before.
        server.kill()
        room = threading.Timer(2, disk.make_room)
        room.start()
        self.addCleanup(room.join)
        server.start().unseal()
        self.client.close()
        self.assert_holds(acknowledged, refused)
        wait_until(lambda: self.client.post("kv/after", {"value": "after"}).status == 204, RESUME_LIMIT_S, "writes resume")
        server.stop()
        self.assertEqual(server.process.returncode, 0)
        server.start().unseal()
        self.client.close()
        self.assert_holds(acknowledged, refused)
        self.assertEqual(self.client.get("kv/after").data, {"value": "after"})

    def assert_holds(self, acknowledged, refused):
        present = set(self.client.request("SCAN", "kv/load").data["keys"])
        self.assertEqual(present, set(acknowledged))
        self.assertFalse(present & refused)
        for key, value in acknowledged.items():
            self.assertEqual(self.client.get(f"kv/load/{key}").data, {"value": value})

    def test_no_room_to_start(self):
        """A server that cannot start for want of room says so and ends, so that whoever watches it can tell."""
        # Room for what is written twice over, as above: how much of it is in the log and in the table is a matter of
        # speed, and with both on the smallest disk less than the reserve may be left.
        server, disk = self.ready("data", 3 * DATA_BYTES)
        for number in range(200):
            self.client.expect(204, "POST", f"kv/early/{number}", {"value": os.urandom(48 << 10).hex()})
        server.kill()
        disk.leave(0)
        refusal = ""
        try:
            server.start(START_OR_END_LIMIT_S)
        except harness.ServerError as error:
            refusal = str(error)
            disk.make_room()
            server.start()
        server.unseal()
        self.client.close()
        self.assertEqual(len(self.client.list("kv/early").data["keys"]), 200)
        disk.make_room()
        wait_until(lambda: self.client.post("kv/after", {"value": "after"}).status == 204, RESUME_LIMIT_S, "writes resume")
        self.assertNotIn("did not get ready", refusal, "it neither served nor ended")
        self.assertIn("space", refusal or "space")

    def test_no_room_to_stop(self):
        """SIGTERM on a full disk ends the server all the same, and loses nothing."""
        server, disk = self.ready("data", DATA_BYTES)
        for number in range(50):
            self.client.expect(204, "POST", f"kv/early/{number}", {"value": os.urandom(4096).hex()})
        disk.leave(0)
        begun = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - begun, 10)
        self.assertNotIn("panicked", server.last_log(1000))
        disk.make_room()
        server.start().unseal()
        self.client.close()
        self.assertEqual(len(self.client.list("kv/early").data["keys"]), 50)


class SmallDisks(Cluster):
    """A cluster whose nodes have small disks for their data."""

    def _add(self):
        node = super()._add()
        node.disk = SmallDisk(node.storage_path, 2 * DATA_BYTES)
        return node

    def remove(self):
        for node in self.nodes:
            if node.is_running():
                node.kill()
            node.disk.unmount()
        super().remove()


class FullClusterNode(unittest.TestCase):
    """One of three nodes has no space left: the others go on, and one of them leads."""

    def setUp(self):
        self.cluster = SmallDisks(3)
        self.addCleanup(self.cluster.remove)
        self.cluster.leader().http().expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        self.written = 0

    def write(self, node):
        """Writes through a node; whether it was acknowledged. A refusal is a clear one."""
        answer = node.http(timeout_s=20).post(f"kv/{self.written}", {"value": str(self.written)})
        if answer.status == 204:
            self.written += 1
            return True
        # 500 is Vault's status for a standby that knows no active node.
        self.assertIn(answer.status, (500, 503, 507), answer.text)
        self.assertTrue(answer.errors[0])
        return False

    def assert_kept(self, node):
        mine = lambda: (node.http().get("kv/?list=true").data or {}).get("keys", [])  # noqa: E731
        wait_for(f"all data on {node.node_id}", lambda: len(mine()) == self.written)
        self.assertEqual(set(mine()), {str(number) for number in range(self.written)})

    def said(self, node, words):
        return [line for line in node.last_log(10_000).splitlines() if words in line]

    def test_the_leader(self):
        full = self.cluster.leader()
        self.assertTrue(self.write(full))
        full.disk.leave(0)
        others = [node for node in self.cluster.nodes if node is not full]
        new = self.cluster.leader(among=others)
        for node in self.cluster.nodes:
            wait_for(f"a write through {node.node_id}", lambda: self.write(node))  # noqa: B023
        self.assertEqual(full.http(token="").get("sys/health").status, 429, "it stands by")
        self.assertEqual(len(self.said(full, "out of space: writes fail")), 1)
        self.assertTrue(self.said(full, "transferring leadership"))
        full.disk.make_room()
        self.assertEqual(self.cluster.leader(), new, "it does not come back by itself")
        for node in self.cluster.nodes:
            self.assert_kept(node)

    def test_a_follower(self):
        leader, full = self.cluster.leader(), self.cluster.standbys()[0]
        full.disk.leave(0)
        wait_for("a line of it", lambda: self.said(full, "out of space: writes fail"))
        for _ in range(20):
            self.assertTrue(self.write(leader), "two of three are enough")
        self.assertTrue(self.write(full), "it hands writes on")
        self.assertEqual(self.cluster.leader(), leader)
        full.disk.make_room()
        for node in self.cluster.nodes:
            self.assert_kept(node)


class FullAudit(Full):
    def test_unaudited_is_unanswered_until_there_is_room(self):
        server, disk = self.ready("audit", MIB)
        path = self.directory / "audit" / "audit.log"
        server.enable_file_audit(file_path=str(path))
        disk.leave(0)
        # The file's last page takes some records still.
        wait_until(lambda: self.client.get("kv/kept").status == 500, 20, "the audit file is full")
        for method, url, body in (
            ("GET", "kv/kept", None), ("POST", "kv/new", {"value": "new"}), ("POST", "kv/kept", {"value": "new"}), ("DELETE", "kv/kept", None),
            ("POST", "secret/data/kept", {"data": {"value": "new"}}), ("POST", "auth/token/create", {}), ("POST", "sys/mounts/new", {"type": "kv"}),
            ("DELETE", "sys/audit/file", None),
        ):
            with self.subTest(method=method, url=url):
                answer = self.client.request(method, url, body)
                self.assertEqual(answer.status, 500, answer.text)
                self.assertTrue(answer.errors and answer.errors[0])
                self.assertNotIn("kept\"", answer.text)
        self.assertEqual(self.client.get("sys/health").status, 200)
        reason = [line for line in server.last_log(10_000).splitlines() if "No space left" in line or "StorageFull" in line]
        self.assertTrue(reason, "the reason is in the log")
        disk.make_room()
        wait_until(lambda: self.client.get("kv/kept").status == 200, RESUME_LIMIT_S, "requests are answered again")
        self.assert_reads()
        self.assertEqual(self.client.get("secret/data/kept").data["metadata"]["version"], 1)
        self.assertNotIn("new/", self.client.get("sys/mounts").data)
        self.assertIn("file/", self.client.get("sys/audit").data)
        last = self.client.get("kv/kept").json["request_id"]
        server.stop()
        # A record that was cut off ends its line; it never swallows the one behind it.
        records, torn = [], 0
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                torn += 1
        self.assertLessEqual(torn, 2)
        self.assertEqual([r["type"] for r in records if r["request"]["id"] == last], ["request", "response"])

    def test_another_device_is_enough(self):
        """Vault answers while one device of several can record; the full one has its reason in the log."""
        server, disk = self.ready("audit", MIB)
        server.enable_file_audit("full", file_path=str(self.directory / "audit" / "audit.log"))
        server.enable_file_audit("good", file_path=str(self.directory / "good.log"))
        disk.leave(0)
        answered = [self.client.expect(204, "POST", "kv/kept", {"value": "kept"}) for _ in range(50)]
        self.assertEqual(len(answered), 50)
        self.assert_reads()
        self.assertIn("No space left", server.last_log(10_000))
