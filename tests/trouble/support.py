"""What the tests of trouble share: a server with something in it, connections that misbehave, and waiting with a bound."""

import errno
import http.client
import socket
import ssl
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import server as harness  # noqa: E402

Reply = harness.Reply
# The contents of every server that these tests share, by mount; a test that writes elsewhere breaks `assert_unharmed`.
KEPT = {"kv": ["kept"], "secret/metadata": ["kept"]}


def wait_until(done, limit_s, what, pause_s=0.02):
    """Polls until `done` answers something true, and returns that; fails after `limit_s`."""
    until = time.monotonic() + limit_s
    while True:
        answer = done()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {limit_s} s")
        time.sleep(pause_s)


def fill(server):
    """Mounts KV version 1 at kv/ and version 2 at secret/, with a secret in each."""
    root = server.http()
    root.expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
    root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    root.expect(204, "POST", "kv/kept", {"value": "kept"})
    root.expect(200, "POST", "secret/data/kept", {"data": {"value": "kept"}})
    root.close()
    return server


class Wire:
    """A connection on which a test says byte for byte what it likes."""

    def __init__(self, server, timeout_s=10):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.tls:
            context = ssl.create_default_context(cafile=server.ca_file)
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")

    def send(self, *parts):
        for part in parts:
            self.socket.sendall(part.encode() if isinstance(part, str) else part)
        return self

    def try_to_send(self, *parts):
        """The same, for a server that may have closed the connection before it heard everything."""
        try:
            self.send(*parts)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def end_sending(self):
        """Half-closes: says that nothing more comes, and still listens."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # the server was faster
                raise
        return self

    def answer(self, method="GET"):
        """The next answer, or None where the server closed the connection without one."""
        answer = http.client.HTTPResponse(self.socket, method=method)
        try:
            answer.begin()
            headers = {k.lower(): v for k, v in answer.getheaders()}
            return Reply(answer.status, headers, answer.read().decode())
        except (http.client.BadStatusLine, http.client.IncompleteRead, ConnectionError):
            return None

    def is_closed(self):
        """Waits for the server to end the connection; fails if it has not within the connection's time-out."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def vanish(self):
        """Resets the connection, as a client does that is killed."""
        linger = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def head(method, path, *fields, token=None, length=None, host=True):
    """The head of an HTTP/1.1 request, its empty line included."""
    lines = [f"{method} {path} HTTP/1.1"]
    if host:
        lines.append("Host: localhost")
    if token is not None:
        lines.append(f"X-Vault-Token: {token}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, *fields, "", ""])


class Trouble(unittest.TestCase):
    """Tests with one server for all of a class, made by `options`; it holds what `fill` put there."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.temporary(**cls.options)
        cls.addClassCleanup(cls.server.remove)
        fill(cls.server.ready())
        cls.root = cls.server.http(timeout_s=10)
        cls.addClassCleanup(cls.root.close)

    def tearDown(self):
        """Takes away what a failed test left, so that the next one is judged by itself."""
        try:
            for mount, keys in self.listed().items():
                for key in set(keys) - set(KEPT[mount]):
                    self.root.delete(f"{mount}/{key}")
        except (OSError, http.client.HTTPException):
            self.root.close()

    def wire(self, timeout_s=10):
        wire = Wire(self.server, timeout_s)
        self.addCleanup(wire.close)
        return wire

    def listed(self):
        """Every key of the two KV mounts."""
        return {mount: (self.root.request("SCAN", mount).data or {}).get("keys", []) for mount in KEPT}

    def assert_unharmed(self):
        """The server serves, nothing panicked, and nothing was written."""
        health = self.root.get("sys/health")
        self.assertEqual((health.status, health.json["sealed"]), (200, False))
        self.assertEqual(self.listed(), KEPT)
        self.assertEqual(self.root.get("kv/kept").data, {"value": "kept"})
        self.assertEqual(self.root.get("secret/data/kept").data["data"], {"value": "kept"})
        self.assertEqual(self.root.get("secret/data/kept").data["metadata"]["version"], 1)
        self.assertNotIn("panicked", self.server.last_log(1000))

    def assert_refused(self, answer, *statuses, closing=True):
        """A clear 4xx (one of `statuses`, where given), or, where `closing` allows it, a closed connection."""
        if answer is None:
            self.assertTrue(closing, "the connection was closed without an answer")
            return
        if statuses:
            self.assertIn(answer.status, statuses, answer.text)
        else:
            self.assertTrue(400 <= answer.status < 500, f"{answer.status} {answer.text}")
