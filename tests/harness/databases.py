"""Databases that servers keep their data in: real ones, each in a directory and on a port of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import server as harness

START_LIMIT_S = 60
INSTALL = "install what the tests need: scripts/install-test-deps"


class Paused:
    """What stops a database's processes for a while, and nothing else."""

    def pause(self):
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


class Postgresql(Paused):
    """A PostgreSQL server. It ends with the process that has started it, however that ends.

    `host` is where it listens, `near` whom it lets in, and `launcher` a command that starts it there.
    """

    kind = "postgresql"
    script = harness.REPOSITORY / "crates" / "postgresql" / "tests" / "postgresql" / "server.sh"

    def __init__(self, host="127.0.0.1", near="127.0.0.1/32", launcher=()):
        self.host = host
        (self.port,) = harness.free_ports(1)
        # The server refuses to be run by root.
        as_other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        environment = {**os.environ, "ADMIN_PASSWORD": "hush-hush", "TLS": "off", "CERTIFICATE": "", "KEY": "", "AUTHORITY": "",
                       "HOST": host, "NEAR": near}
        self.process = subprocess.Popen(
            [*launcher, *as_other, "sh", "-c", self.script.read_text(), "server.sh", self.binaries(), str(self.port)], cwd="/",
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.directory = self.process.stdout.readline().strip()
        if not self.directory:
            raise harness.ServerError("PostgreSQL did not start")

    def pids(self):
        """The server's, and those of its sessions."""
        server = int(Path(self.directory, "data", "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return [server, *map(int, children)]

    @staticmethod
    def binaries():
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or filter(None, [shutil.which("initdb")])
        for initdb in found:
            return str(Path(initdb).parent)
        raise harness.ServerError(f"PostgreSQL is not there; {INSTALL}")

    def block(self, name="store", **keys):
        """What a `storage` block has in it, for a store of this name."""
        url = f"postgres://admin:hush-hush@{self.host}:{self.port}/postgres?sslmode=disable"
        return lines(connection_url=url, table=name, ha_table=f"{name}_locks", **keys)

    def restart(self):
        """As after a crash."""
        self.process.stdin.write("restart\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(START_LIMIT_S)
        self.process.stdout.close()


class Etcd(Paused):
    """An etcd of one member; `host` is where it listens, and `launcher` a command that starts it there."""

    kind = "etcd"

    def __init__(self, host="127.0.0.1", near=None, launcher=()):
        self.host, self.launcher = host, launcher
        if not shutil.which("etcd"):
            raise harness.ServerError(f"etcd is not there; {INSTALL}")
        self.directory = Path(tempfile.mkdtemp(prefix="strongroom-etcd-"))
        self.port, self.peer_port = harness.free_ports(2)
        self._start()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def pids(self):
        return [self.process.pid]

    def _start(self):
        peers = f"http://127.0.0.1:{self.peer_port}"
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, "etcd", "--data-dir", str(self.directory / "data"), "--unsafe-no-fsync",
                 "--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", peers,
                 "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                    if b"true" in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise harness.ServerError(f"etcd did not start: {(self.directory / 'log').read_text()[-2000:]}")

    def block(self, name="store", **keys):
        """What a `storage` block has in it, for a store of this name."""
        return lines(address=self.url, path=f"/{name}/", **keys)

    def restart(self):
        """As after a crash."""
        self.process.kill()
        self.process.wait()
        self._start()

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def lines(**keys):
    return "".join(f'  {key} = "{value}"\n' for key, value in keys.items())
