"""Clients that are slow, half gone, gone, or many."""

import os
import threading
import time

from support import Trouble, Wire, harness, head, wait_until

HEADER_TIMEOUT_S = 1
READ_TIMEOUT_S = 1
# What a time-out may take longer on a busy machine.
GRACE_S = 5
BODY = '{"value":"written"}'


class SlowClients(Trouble):
    options = {"listener_config": f"""\
http_read_header_timeout = "{HEADER_TIMEOUT_S}s"
  http_read_timeout = "{READ_TIMEOUT_S}s"
  http_idle_timeout = "60s"
"""}

    def dribble(self, wire, text, gap_s=0.05, limit_s=HEADER_TIMEOUT_S + GRACE_S):
        """Sends `text` over and over, a byte at a time, until the server ends the connection; tells after how long."""
        begun = time.monotonic()
        wire.socket.settimeout(gap_s)
        while time.monotonic() - begun < limit_s:
            for byte in text.encode():
                try:
                    wire.send(bytes([byte]))
                    if wire.socket.recv(4096) == b"":
                        return time.monotonic() - begun
                except TimeoutError:
                    pass
                except ConnectionError:
                    return time.monotonic() - begun
        self.fail(f"still open after {limit_s} s")

    def test_head_dribbled_byte_by_byte(self):
        wire = self.wire()
        wire.send("GET /v1/sys/health HTTP/1.1\r\n")
        took = self.dribble(wire, "X-Slow: y\r\n")
        self.assertGreaterEqual(took, HEADER_TIMEOUT_S * 0.9)
        self.assert_unharmed()

    def test_request_line_dribbled_byte_by_byte(self):
        self.dribble(self.wire(), "GET /v1/sys/health")
        self.assert_unharmed()

    def test_second_head_on_a_connection_is_timed_too(self):
        wire = self.wire()
        self.assertEqual(wire.send(head("GET", "/v1/sys/health")).answer().status, 200)
        self.dribble(wire, "GET /v1/sys/health")
        self.assert_unharmed()

    def test_head_within_its_time_is_served_however_small_its_pieces(self):
        wire = self.wire()
        for byte in head("GET", "/v1/sys/health").encode():
            wire.send(bytes([byte]))
        self.assertEqual(wire.answer().status, 200)

    def test_body_that_stops_coming(self):
        wire = self.wire(READ_TIMEOUT_S + GRACE_S)
        begun = time.monotonic()
        wire.send(head("POST", "/v1/kv/slow", token=self.server.root_token, length=len(BODY)), BODY[:5])
        self.assert_refused(wire.answer(), 408)
        self.assertGreaterEqual(time.monotonic() - begun, READ_TIMEOUT_S * 0.9)
        self.assertTrue(wire.is_closed())
        self.assert_unharmed()

    def test_body_dribbled_beyond_its_time(self):
        wire = self.wire()
        wire.send(head("POST", "/v1/kv/slow", token=self.server.root_token, length=100_000))
        took = self.dribble(wire, BODY, limit_s=READ_TIMEOUT_S + GRACE_S)
        self.assertGreaterEqual(took, READ_TIMEOUT_S * 0.9)
        self.assert_unharmed()

    def test_client_that_does_not_read_its_answer(self):
        """An answer larger than the buffers between, and nobody takes it: others are served."""
        root = self.server.http()
        root.expect(204, "POST", "kv/kept", {"value": "kept", "padding": "x" * 900_000})
        try:
            wires = [self.wire() for _ in range(8)]
            for wire in wires:
                wire.send(head("GET", "/v1/kv/kept", token=self.server.root_token) * 8)
            for _ in range(20):
                self.assertEqual(root.get("sys/health").status, 200)
            for wire in wires:
                wire.vanish()
        finally:
            root.expect(204, "POST", "kv/kept", {"value": "kept"})
            root.close()
        self.assert_unharmed()


class HalfClosedClients(Trouble):
    """Clients that say that nothing more comes, and clients that are gone."""

    def test_half_closed_after_a_read(self):
        wire = self.wire()
        wire.send(head("GET", "/v1/kv/kept", token=self.server.root_token)).end_sending()
        answer = wire.answer()
        self.assertIsNotNone(answer, "the connection was closed without an answer")
        self.assertEqual((answer.status, answer.data), (200, {"value": "kept"}))
        self.assertTrue(wire.is_closed())

    def test_half_closed_within_a_head(self):
        wire = self.wire()
        wire.send("GET /v1/sys/health HTTP/1.1\r\nHost: loc").end_sending()
        self.assert_refused(wire.answer())
        self.assertTrue(wire.is_closed())
        self.assert_unharmed()

    def test_half_closed_within_a_body(self):
        wire = self.wire()
        wire.send(head("POST", "/v1/kv/half", token=self.server.root_token, length=len(BODY)), BODY[:-1]).end_sending()
        self.assert_refused(wire.answer("POST"))
        self.assertTrue(wire.is_closed())
        self.assert_unharmed()

    def test_gone_within_a_body(self):
        whole = '{"value":"written"}       '
        for sent in (0, 1, 19, len(whole) - 1):
            wire = self.wire()
            wire.send(head("POST", "/v1/kv/gone", token=self.server.root_token, length=len(whole)), whole[:sent])
            wire.vanish()
        wire = self.wire()
        chunks = head("POST", "/v1/kv/gone", "Transfer-Encoding: chunked", token=self.server.root_token)
        wire.send(chunks, f"{len(BODY):x}\r\n{BODY}\r\n").vanish()
        self.assert_unharmed()


class HalfClosedAfterAWrite(Trouble):
    """By itself, because a write whose client was dropped may still be done later, in the middle of another test."""

    def test_half_closed_after_a_write(self):
        wire = self.wire()
        wire.send(head("POST", "/v1/kv/half", token=self.server.root_token, length=len(BODY)), BODY).end_sending()
        answer = wire.answer()
        self.assertIsNotNone(answer, "the connection was closed without an answer")
        self.assertEqual(answer.status, 204)
        self.assertEqual(self.root.get("kv/half").data, {"value": "written"})
        self.root.expect(204, "DELETE", "kv/half")
        self.assert_unharmed()


class ManyClients(Trouble):
    IDLE = 200

    def test_idle_connections_do_not_hinder(self):
        idle = [self.wire() for _ in range(self.IDLE)]
        for wire in idle[: self.IDLE // 2]:
            # Half of them have used their connection before; the others never said a word.
            self.assertEqual(wire.send(head("GET", "/v1/sys/seal-status")).answer().status, 200)
        begun = time.monotonic()
        for _ in range(50):
            self.root.expect(204, "POST", "kv/kept", {"value": "kept"})
            self.assertEqual(self.root.get("kv/kept").data, {"value": "kept"})
        self.assertLess(time.monotonic() - begun, 10)
        for wire in idle:
            self.assertEqual(wire.send(head("GET", "/v1/sys/seal-status")).answer().status, 200)
        self.assert_unharmed()

    def test_half_heads_do_not_hinder(self):
        for _ in range(self.IDLE):
            self.wire().send("GET /v1/sys/health HTTP/1.1\r\nHost:")
        self.assert_unharmed()

    def test_connections_that_come_and_go(self):
        open_before = self.descriptors()
        for _ in range(300):
            Wire(self.server).close()
        for _ in range(100):
            with Wire(self.server) as wire:
                wire.send("GET /v1/sys")
        wait_until(lambda: self.descriptors() <= open_before + 5, 10, "descriptors given back")
        self.assert_unharmed()

    def test_pipelined_requests_are_answered_in_order(self):
        wire = self.wire()
        wire.send(head("GET", "/v1/kv/kept", token=self.server.root_token), head("GET", "/v1/kv/none", token=self.server.root_token),
                  head("GET", "/v1/sys/health"))
        reader = wire.socket.makefile("rb")
        statuses = []
        for _ in range(3):
            statuses.append(int(reader.readline().split()[1]))
            length = 0
            while (line := reader.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            reader.read(length)
        self.assertEqual(statuses, [200, 404, 200])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))


class OneKey(Trouble):
    """Requests that write one key at once: all but one of them must be decided again on what the first has written."""

    WRITERS = 8
    ROUNDS = 25

    def test_writers_of_one_key(self):
        failures = []

        def write(number):
            client = self.server.http(timeout_s=10)
            try:
                for _ in range(self.ROUNDS):
                    client.expect(204, "POST", "kv/kept", {"value": "kept"})
                    client.expect(200, "POST", "secret/data/contended", {"data": {"by": number}})
            except (OSError, harness.ServerError) as error:
                failures.append(error)
            finally:
                client.close()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(self.WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.assertEqual(failures, [])
        version = self.root.get("secret/data/contended").data["metadata"]["version"]
        self.assertEqual(version, self.WRITERS * self.ROUNDS)
        self.root.expect(204, "DELETE", "secret/metadata/contended")
        self.assert_unharmed()

    def test_gone_before_the_answer(self):
        """Clients that are gone when their write is decided leave nothing behind that hinders the next."""
        body = '{"value":"kept"}'
        for _ in range(20):
            wire = self.wire()
            wire.send(head("POST", "/v1/kv/kept", token=self.server.root_token, length=len(body)), body)
            wire.vanish()
        self.root.expect(204, "POST", "kv/kept", {"value": "kept"})
        self.assert_unharmed()
