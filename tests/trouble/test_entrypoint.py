"""The entrypoint of the container image with a shell: what charts and compose files of Vault and OpenBao ask of it."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import harness

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/container/docker-entrypoint.sh"


class Entrypoint(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-entrypoint-"))
        self.addCleanup(harness.shutil.rmtree, self.folder)
        for name in ("vault", "bao"):
            (self.folder / name).symlink_to(harness.find_binary())
        self.config = self.folder / "config"
        self.config.mkdir()

    def run_with(self, *words, **variables):
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": str(self.folder),
                       "VAULT_CONFIG_DIR": str(self.config)} | variables
        return subprocess.run(["sh", SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=60)

    def test_words_that_are_a_command_run_the_program(self):
        for words, wanted in [(("version",), "Vault v"), (("vault", "version"), "Vault v"),
                              (("bao", "version"), "Strongroom v"), (("-version",), "Vault v"),
                              (("kv", "-help"), "Usage: vault kv "), (("operator", "init", "-help"), "Usage: vault operator init ")]:
            done = self.run_with(*words)
            self.assertTrue(done.stdout.startswith(wanted), f"{words}: {done.stdout}{done.stderr}")
        done = self.run_with("status", VAULT_ADDR="http://127.0.0.1:1")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("Error checking seal status", done.stderr)
        self.assertEqual(self.run_with("echo", "status").stdout, "status\n", "anything else is a program of its own")

    def test_the_scripts_of_the_stock_images_recognize_commands(self):
        for name in ("vault", "bao"):
            for command in ("status", "operator", "kv", "read", "server"):
                told = subprocess.run([self.folder / name, "--help", command], capture_output=True, text=True)
                self.assertIn(f"{name} {command}", told.stdout, "what they look for")
            told = subprocess.run([self.folder / name, "--help", "cat"], capture_output=True, text=True)
            self.assertNotIn(f"{name} cat", told.stdout)

    def test_a_server_has_the_configuration_of_the_directory(self):
        local = 'storage "raft" {\n path = "%s"\n}\nlistener "tcp" {\n address = "127.0.0.1:1"\n tls_disable = true\n}\n' % self.folder
        (self.config / "extraconfig-from-values.hcl").write_text(local)
        words = ("server", "-test-verify-only")
        done = self.run_with(*words)
        self.assertIn('"cluster_addr" or VAULT_CLUSTER_ADDR is needed', done.stdout + done.stderr)
        done = self.run_with(*words, BAO_API_ADDR="http://127.0.0.1:1", BAO_CLUSTER_ADDR="https://127.0.0.1:2",
                             BAO_RAFT_NODE_ID="x")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = self.run_with(*words, VAULT_LOCAL_CONFIG='{"zork": 1, "cluster_addr": "https://127.0.0.1:2"}')
        self.assertIn("zork", done.stdout + done.stderr)
        self.assertTrue((self.config / "local.json").exists())
        done = self.run_with(*words, VAULT_CLUSTER_INTERFACE="lo", VAULT_REDIRECT_INTERFACE="lo")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
