"""Starts and stops one server for a test or a measurement, and speaks plain HTTP to it.

Everything is the Python standard library: the harness is used before any test dependency is installed.
A server gets its own directory and its own ports on 127.0.0.1 (or another host), and is stopped by its process id.
"""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_LIMIT_S = 30
STOP_LIMIT_S = 15


class ServerError(Exception):
    """The server did not start, did not stop, or answered a setup step with an error."""


def find_binary(given=None, profile="ci"):
    """The server to test: the argument, else $STRONGROOM_SERVER, else what was built last with the profile.

    Tests use the build of `cargo xtask ci`, which has every check that the compiler can add; measurements the release build.
    """
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    binary = Path(given or os.environ.get("STRONGROOM_SERVER") or target / profile / "strongroom").resolve()
    if not os.access(binary, os.X_OK):
        build = f"cargo build --profile {profile} -p strongroom-server"
        raise ServerError(f"no server at {binary}: build it ({build}) or name one (--server, $STRONGROOM_SERVER)")
    return binary


def product_of(binary):
    """What `BINARY version` calls itself, in lower case: "strongroom", "vault", "openbao"."""
    shown = subprocess.run([str(binary), "version"], capture_output=True, text=True, check=True, timeout=30)
    return shown.stdout.split()[0].lower()


def end_tidily_on_sigterm():
    """Lets SIGTERM unwind like an exit, so that the servers of a command end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


# Below those that Linux gives to outgoing connections, and above what services use.
PORTS = (10_000, 32_000)


def free_ports(count):
    """Ports nobody listens on now. All are held at once so that they differ. None is one that the system gives to connections: a
    node that is restarted must find its own free again."""
    held = []
    try:
        while len(held) < count:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", random.randrange(*PORTS)))
                held.append(one)
            except OSError:
                one.close()
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def free_port_run(count):
    """The first of `count` ports in a row that nobody listens on now."""
    while True:
        (first,) = free_ports(1)
        held = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(held):
                one.bind(("127.0.0.1", first + offset))
            return first
        except (OSError, OverflowError):
            continue
        finally:
            for one in held:
                one.close()


@dataclass
class Reply:
    """An HTTP answer: `json` is the decoded body, or None where the body is empty or not JSON."""

    status: int
    headers: dict
    text: str

    @property
    def json(self):
        try:
            return json.loads(self.text) if self.text else None
        except ValueError:
            return None

    @property
    def data(self):
        return (self.json or {}).get("data")

    @property
    def errors(self):
        return (self.json or {}).get("errors")


class Http:
    """One keep-alive connection. Not for use by two threads at once."""

    def __init__(self, address, token=None, ca_file=None, timeout_s=60):
        self.address, self.token, self.timeout_s = address, token, timeout_s
        self._tls = ssl.create_default_context(cafile=ca_file) if address.startswith("https:") else None
        self._connection = None

    def with_token(self, token):
        """The same address under another token, on a connection of its own."""
        other = Http(self.address, token, timeout_s=self.timeout_s)
        other._tls = self._tls
        return other

    def request(self, method, path, body=None, headers=None, token=None):
        """Sends `body` (a JSON value, or bytes sent as they are) to /v1/`path`; an absolute path is taken as it is."""
        sent = {"X-Vault-Request": "true", **(headers or {})}
        token = self.token if token is None else token
        if token:
            sent["X-Vault-Token"] = token
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        path = path if path.startswith("/") else f"/v1/{path}"
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return reply

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def list(self, path, **more):
        return self.request("LIST", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body, **more)

    def put(self, path, body=None, **more):
        return self.request("PUT", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def expect(self, status, method, path, body=None, **more):
        """A setup step: anything but `status` raises."""
        reply = self.request(method, path, body, **more)
        if reply.status != status:
            raise ServerError(f"{method} {path}: expected {status}, got {reply.status} {reply.text.strip()}")
        return reply

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self):
        host, port = self.address.split("://", 1)[1].rsplit(":", 1)
        if self._tls:
            connection = http.client.HTTPSConnection(host, int(port), timeout=self.timeout_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=self.timeout_s)
        connection.connect()
        # http.client sends head and body in two writes; without this the second waits for a delayed ACK.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def make_certificates(folder):
    """A certificate authority and a server certificate for 127.0.0.1 and localhost, with the openssl command."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    cert, key, request = folder / "server.pem", folder / "server-key.pem", folder / "server.csr"
    names = folder / "names.cnf"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for arguments in (
        ["req", "-x509", *curve, "-days", "2", "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", ca,
         "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ["req", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
         "-extfile", names, "-out", cert],
    ):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    return ca, cert, key


@dataclass
class Server:
    """A server process with its configuration, storage and log below one directory."""

    binary: Path
    directory: Path
    tls: bool = False
    storage: str = "raft"
    extra_config: str = ""
    listener_config: str = ""
    node_id: str = "node1"
    storage_config: str = ""
    host: str = "127.0.0.1"
    ports: tuple = None
    launcher: tuple = ()
    shares: list = field(default_factory=list)
    threshold: int = 0
    root_token: str = ""
    process: subprocess.Popen = None

    def __post_init__(self):
        self.binary = find_binary(self.binary)
        self.directory = Path(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.cluster_port = self.ports or free_ports(2)
        self.ca_file = None
        self._write_config()

    @classmethod
    def temporary(cls, binary=None, prefix="strongroom-test-", **options):
        """A server in a fresh directory; `remove` deletes it."""
        return cls(find_binary(binary), Path(tempfile.mkdtemp(prefix=prefix)), **options)

    @property
    def address(self):
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def storage_path(self):
        return self.directory / "data"

    @property
    def log(self):
        return self.directory / "server.log"

    @property
    def audit_file(self):
        return self.directory / "audit.log"

    @property
    def pid(self):
        return self.process.pid

    def _write_config(self):
        self.storage_path.mkdir(exist_ok=True)
        if self.tls:
            self.ca_file, cert, key = make_certificates(self.directory / "tls")
            tls = f'tls_cert_file = "{cert}"\n  tls_key_file = "{key}"'
        else:
            tls = "tls_disable = true"
        own = f'  path = "{self.storage_path}"\n  node_id = "{self.node_id}"\n' if self.storage == "raft" else ""
        storage = f'storage "{self.storage}" {{\n{own}{self.storage_config}}}'
        # OpenBao has some of Vault's API switched off unless told otherwise.
        openbao = product_of(self.binary) == "openbao"
        peer = "unsafe_allow_api_audit_creation = true" if openbao else ""
        peer_listener = ("disable_unauthed_rekey_endpoints = false\n"
                         "  disable_unauthed_generate_root_endpoints = false") if openbao else ""
        self.config = self.directory / "server.hcl"
        self.config.write_text(f"""\
{storage}

listener "tcp" {{
  address = "{self.host}:{self.port}"
  cluster_address = "{self.host}:{self.cluster_port}"
  {tls}
  {peer_listener}
  {self.listener_config}
}}

api_addr = "{self.address}"
cluster_addr = "https://{self.host}:{self.cluster_port}"
disable_mlock = true
log_level = "warn"
telemetry {{
  prometheus_retention_time = "1h"
  disable_hostname = true
}}
{peer}
{self.extra_config}
""")

    def environment(self):
        """The variables that the process is started with."""
        # A VAULT_TOKEN, VAULT_ADDR or key of AWS of the person at the keyboard must not reach the server.
        return {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_", "AWS_"))}

    def start(self, limit_s=START_LIMIT_S):
        """Starts the process and waits until it answers HTTP; one that does not within `limit_s` is killed."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, str(self.binary), "server", f"-config={self.config}"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment(), start_new_session=True)
        try:
            self._wait(limit_s, lambda: True)
        except ServerError:
            self.kill()
            raise
        return self

    def _wait(self, limit_s, ready):
        """Polls sys/seal-status until `ready` says so; the process must stay alive meanwhile."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise ServerError(f"the server exited with {self.process.returncode}:\n{self.last_log()}")
            try:
                http_ = self.http(token="", timeout_s=5)
                http_.get("sys/seal-status")
                http_.close()
                if ready():
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.01)
        raise ServerError(f"the server did not get ready in {limit_s} s:\n{self.last_log()}")

    def last_log(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def http(self, token=None, timeout_s=60):
        """A connection under `token`, the root token where none is given."""
        return Http(self.address, self.root_token if token is None else token, self.ca_file, timeout_s)

    def init(self, shares=1, threshold=1):
        reply = self.http(token="").expect(
            200, "PUT", "sys/init", {"secret_shares": shares, "secret_threshold": threshold}).json
        self.shares, self.threshold, self.root_token = reply["keys"], threshold, reply["root_token"]
        return self

    def unseal(self):
        """Gives the shares and waits until the node is the active one."""
        connection = self.http(token="")
        for share in self.shares[: self.threshold]:
            connection.expect(200, "PUT", "sys/unseal", {"key": share})
        self.wait_active()
        return self

    def wait_active(self):
        connection = self.http(token="")
        self._wait(START_LIMIT_S, lambda: connection.get("sys/health").status == 200)

    def ready(self):
        """Started unless it runs, initialised with one share and unsealed."""
        if self.process is None:
            self.start()
        return self.init().unseal()

    def enable_file_audit(self, path="file", **options):
        body = {"type": "file", "options": {"file_path": str(self.audit_file), **options}}
        self.http().expect(204, "PUT", f"sys/audit/{path}", body)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def pause(self):
        """Stops its process, if it runs; that neither ends nor closes anything."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        if self.is_running():
            self.process.send_signal(number)

    def kill(self):
        """kill -9, as a power cut would: nothing is flushed, nothing is said."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks the process to end and insists after a while."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server did not end within {STOP_LIMIT_S} s of SIGTERM") from None

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
