"""Audit devices that the configuration declares: made at unseal and at SIGHUP, gone with their stanza."""

import json
import signal
import tempfile
import unittest
from pathlib import Path

from support import harness, wait_until

LIMIT_S = 10


def stanza(path, file, more=""):
    return f'audit "file" "{path}" {{\n  description = "declared"\n  options {{\n    file_path = "{file}"{more}\n  }}\n}}\n'


def paths(file):
    """The paths of the requests on record."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["request"]["path"] for line in lines if line["type"] == "request"]


class Declared(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
        self.one, self.two = self.folder / "one.log", self.folder / "two.log"
        self.server = harness.Server(None, self.folder / "server", extra_config=(
            "unsafe_allow_api_audit_creation = false\n" + stanza("one", self.one)))
        self.addCleanup(self.server.remove)
        self.server.ready()
        self.root = self.server.http(timeout_s=10)
        self.addCleanup(self.root.close)

    def declare(self, text):
        before = self.server.config.read_text()
        kept = before[:before.index("unsafe_allow_api_audit_creation")]
        self.server.config.write_text(kept + "unsafe_allow_api_audit_creation = false\n" + text)
        self.server.process.send_signal(signal.SIGHUP)

    def listed(self):
        return sorted(self.root.get("sys/audit").data)

    def test_they_follow_the_configuration(self):
        self.root.get("sys/mounts")
        self.assertIn("sys/mounts", paths(self.one), "the first request is on record")
        self.assertEqual(self.root.get("sys/audit").data["one/"]["description"], "declared")
        refused = self.root.post("sys/audit/api", {"type": "file", "options": {"file_path": str(self.two)}})
        self.assertEqual(refused.status, 400, refused.text)
        refused = self.root.delete("sys/audit/one")
        self.assertEqual(refused.status, 400, refused.text)
        self.assertIn("declared in the server's configuration", refused.text)

        self.root.expect(204, "POST", "sys/auth/userpass", {"type": "userpass"})
        self.root.expect(204, "POST", "auth/userpass/users/ALICE", {"password": "pw"})
        self.assertEqual(paths(self.one)[-1], "auth/userpass/users/alice", "as policies and the method read it")

        self.declare(stanza("one", self.one) + stanza("two", self.two))
        wait_until(lambda: self.listed() == ["one/", "two/"], LIMIT_S, "the second device is there")
        self.declare(stanza("two", self.two))
        wait_until(lambda: self.listed() == ["two/"], LIMIT_S, "the first device is gone")
        self.root.get("sys/mounts/secret")
        self.assertIn("sys/mounts/secret", paths(self.two))
        self.assertNotIn("sys/mounts/secret", paths(self.one))

        # What a declared device is cannot be changed, and is not.
        self.declare(stanza("two", self.one))
        wait_until(lambda: "cannot be modified" in self.server.last_log(), LIMIT_S, "it is logged")
        self.assertEqual(self.root.get("sys/audit").data["two/"]["options"]["file_path"], str(self.two))

        # A restart finds another configuration.
        self.declare(stanza("one", self.one))
        wait_until(lambda: self.listed() == ["one/"], LIMIT_S, "the first device is back")
        self.root.close()
        self.server.stop()
        self.server.config.write_text(self.server.config.read_text().replace('"one"', '"three"'))
        self.server.start()
        self.server.unseal()
        wait_until(lambda: self.listed() == ["three/"], LIMIT_S, "another device takes its place")

    def test_nothing_is_served_unrecorded(self):
        self.server.stop()
        self.server.config.write_text(
            self.server.config.read_text().replace('"one"', '"two"').replace(str(self.one), str(self.two)))
        self.two.mkdir()
        self.server.start()
        self.server.unseal()
        self.root.close()
        refused = self.root.get("sys/mounts")
        self.assertEqual(refused.status, 500, refused.text)
        self.two.rmdir()
        wait_until(lambda: self.root.get("sys/mounts").status == 200, LIMIT_S, "the device is made after all")
        self.assertIn("sys/mounts", paths(self.two))
