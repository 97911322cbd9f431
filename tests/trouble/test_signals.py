"""SIGHUP takes over what changed on disk; SIGTERM finishes what is under way, seals and ends."""

import json
import shutil
import signal
import socket
import ssl
import threading
import time
import unittest

from support import Trouble, Wire, fill, harness, head, wait_until

RELOAD_LIMIT_S = 5
EXIT_LIMIT_S = 5


def refused_id(server, token):
    """The id of a request that the server refuses, and whose reason it logs at level debug."""
    client = server.http(token)
    answer = client.get("kv/kept")
    client.close()
    assert answer.status == 403, answer.text
    return answer.headers["x-vault-request-id"]


class Certificates(Trouble):
    options = {"tls": True}

    def shown(self):
        return ssl.get_server_certificate(("127.0.0.1", self.server.port)).strip()

    def test_replaced_and_reloaded(self):
        folder = self.server.directory / "tls"
        cert, key = folder / "server.pem", folder / "server-key.pem"
        before = self.shown()
        self.assertEqual(before, cert.read_text().strip())
        held = Wire(self.server)
        self.addCleanup(held.close)
        ask = head("GET", "/v1/kv/kept", token=self.server.root_token)
        self.assertEqual(held.send(ask).answer().status, 200)

        new_ca, new_cert, new_key = harness.make_certificates(self.server.directory / "new")
        shutil.copy(new_cert, cert)
        shutil.copy(new_key, key)
        self.assertEqual(self.shown(), before, "a new certificate counts only once it is reloaded")
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.shown() == new_cert.read_text().strip(), RELOAD_LIMIT_S, "the new certificate is shown")

        # The connection of before goes on under the old certificate; a new one needs the new authority.
        self.assertEqual(held.send(ask).answer().data, {"value": "kept"})
        with self.assertRaises(ssl.SSLCertVerificationError):
            Wire(self.server)
        self.root.close()
        self.server.ca_file = new_ca
        self.root = self.server.http()
        self.assert_unharmed()

        # What cannot be used leaves in force what is.
        cert.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "TLS certificate was not reloaded" in self.server.last_log(1000), RELOAD_LIMIT_S, "the bad certificate is logged")
        self.assertEqual(self.shown(), new_cert.read_text().strip())
        self.assertEqual(held.send(ask).answer().status, 200)
        self.assert_unharmed()


class Reload(Trouble):
    def hang_up(self):
        self.server.process.send_signal(signal.SIGHUP)

    def is_logged(self, token=None):
        return refused_id(self.server, token or self.powerless) in self.server.log.read_text()

    def test_log_level(self):
        made = self.root.expect(200, "POST", "auth/token/create", {"policies": ["default"]}).json["auth"]
        self.powerless = made["client_token"]
        text = self.server.config.read_text()
        self.assertIn('log_level = "warn"', text)
        self.assertFalse(self.is_logged())
        self.server.config.write_text(text.replace('log_level = "warn"', 'log_level = "debug"'))
        self.hang_up()
        wait_until(self.is_logged, RELOAD_LIMIT_S, "level debug")
        with self.subTest("every refusal has its reason in the log, that of an unknown token too"):
            self.assertTrue(self.is_logged("hvs.nonsense"))
        self.root.expect(204, "POST", "kv/kept", {"value": "planted-in-a-request"})
        self.root.expect(204, "POST", "kv/kept", {"value": "kept"})
        for secret in (self.server.root_token, self.powerless, "planted-in-a-request"):
            self.assertNotIn(secret, self.server.log.read_text(), "secrets are not for the log, at whatever level")
        # A configuration that cannot be read changes nothing.
        self.server.config.write_text(text.replace('log_level = "warn"', 'log_level = "lou'))
        self.hang_up()
        wait_until(lambda: "configuration was not reloaded" in self.server.last_log(10_000), RELOAD_LIMIT_S, "the bad configuration is logged")
        self.assertTrue(self.is_logged())
        self.server.config.write_text(text)
        self.hang_up()
        wait_until(lambda: not self.is_logged(), RELOAD_LIMIT_S, "level warn")
        self.assertFalse(any(self.is_logged() for _ in range(5)))
        self.assert_unharmed()

    def test_audit_file_moved_away(self):
        self.server.enable_file_audit()
        self.addCleanup(self.root.delete, "sys/audit/file")
        path, moved = self.server.audit_file, self.server.directory / "audit.log.1"
        first = self.root.get("kv/kept").json["request_id"]
        path.rename(moved)
        # Until it is told, the server goes on in the file that it has open.
        second = self.root.get("kv/kept").json["request_id"]
        self.assertFalse(path.exists())
        self.hang_up()
        wait_until(path.exists, RELOAD_LIMIT_S, "the audit file is opened anew")
        third = self.root.get("kv/kept").json["request_id"]
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        old, new = self.recorded(moved), self.recorded(path)
        for request, here, there in ((first, old, new), (second, old, new), (third, new, old)):
            self.assertEqual(here.get(request), ["request", "response"])
            self.assertNotIn(request, there)
        self.assert_unharmed()

    def test_audit_file_moved_away_under_load(self):
        """No record is lost, doubled or torn, however often the file is taken away."""
        self.server.enable_file_audit("busy", file_path=str(self.server.directory / "busy.log"))
        self.addCleanup(self.root.delete, "sys/audit/busy")
        path, answered, done = self.server.directory / "busy.log", [], threading.Event()

        def ask():
            client = self.server.http()
            while not done.is_set():
                answered.append(client.expect(200, "GET", "kv/kept").json["request_id"])
            client.close()

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        moved = []
        for number in range(5):
            count = len(answered)
            wait_until(lambda: len(answered) > count + 20, 10, "requests are answered")
            moved.append(path.rename(self.server.directory / f"busy.log.{number}"))
            self.hang_up()
            wait_until(path.exists, RELOAD_LIMIT_S, "the audit file is opened anew")
        done.set()
        for asker in askers:
            asker.join()
        records = {}
        for file in (*moved, path):
            for request, kinds in self.recorded(file).items():
                records.setdefault(request, []).extend(kinds)
        self.assertGreater(len(answered), 100)
        for request in answered:
            self.assertEqual(records.get(request), ["request", "response"])
        self.assert_unharmed()

    @staticmethod
    def recorded(path):
        """The kinds of records that a file has of each request id."""
        records = {}
        for line in path.read_text().splitlines():
            record = json.loads(line)
            records.setdefault(record["request"]["id"], []).append(record["type"])
        return records


class Terminate(unittest.TestCase):
    def started(self, **options):
        server = harness.Server.temporary(**options)
        self.addCleanup(server.remove)
        return server.start()

    def ready(self, **options):
        server = harness.Server.temporary(**options)
        self.addCleanup(server.remove)
        return fill(server.ready())

    def assert_ended(self, server, limit_s=EXIT_LIMIT_S):
        self.assertEqual(server.process.wait(limit_s), 0, server.last_log())
        self.assertNotIn("panicked", server.last_log(1000))

    def refuses_connections(self, server):
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it waited to be accepted as the listener went: the next one is refused
        return False

    def test_request_under_way_is_finished(self):
        body = '{"value":"finished"}'
        server = self.ready()
        wire = Wire(server)
        self.addCleanup(wire.close)
        wire.send(head("POST", "/v1/kv/last", token=server.root_token, length=len(body)), body[:7])
        time.sleep(0.1)  # the server has begun to read; nothing outside shows that
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: self.refuses_connections(server), EXIT_LIMIT_S, "no more connections are taken")
        self.assertIsNone(server.process.poll(), "the server ended with a request under way")
        answer = wire.send(body[7:]).answer("POST")
        self.assertIsNotNone(answer, "the request under way was dropped")
        self.assertEqual(answer.status, 204, answer.text)
        self.assertTrue(wire.is_closed())
        self.assert_ended(server)

        server.start()
        client = server.http()
        self.assertEqual(client.get("sys/health").status, 503, "a server that starts is sealed")
        server.unseal()
        self.assertEqual(client.get("kv/last").data, {"value": "finished"})
        self.assertEqual(client.get("kv/kept").data, {"value": "kept"})
        client.close()

    def test_acknowledged_under_load(self):
        """Every write that was answered is there afterwards; what was not is answered by an error or not at all."""
        server = self.ready()
        acknowledged, wrong = [], []

        def write(writer):
            client = server.http(timeout_s=10)
            try:
                for number in range(1_000_000):
                    answer = client.post(f"kv/load/{writer}/{number}", {"value": str(number)})
                    if answer.status == 204:
                        acknowledged.append((writer, number))
                    elif answer.status not in (500, 503):
                        wrong.append(answer)
                    else:
                        return
            except (OSError, harness.http.client.HTTPException):
                pass
            finally:
                client.close()

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for writer in writers:
            writer.start()
        wait_until(lambda: len(acknowledged) > 200, 20, "writes are answered")
        server.process.send_signal(signal.SIGTERM)
        self.assert_ended(server)
        for writer in writers:
            writer.join()
        self.assertEqual(wrong, [])
        server.start().unseal()
        client = server.http()
        for writer, number in acknowledged:
            self.assertEqual(client.get(f"kv/load/{writer}/{number}").data, {"value": str(number)})
        client.close()

    def test_clients_that_never_end_do_not_hold_it_up(self):
        server = self.ready(listener_config='http_read_header_timeout = "1s"\n  http_read_timeout = "1s"')
        idle, used, headless, bodiless = (Wire(server) for _ in range(4))
        used.send(head("GET", "/v1/sys/health")).answer()
        headless.send("GET /v1/sys/health HTTP/1.1\r\nHost: lo")
        bodiless.send(head("POST", "/v1/kv/never", token=server.root_token, length=100), "{")
        server.process.send_signal(signal.SIGTERM)
        self.assert_ended(server)
        for wire in (idle, used, headless, bodiless):
            self.assertTrue(wire.is_closed())
            wire.close()
        server.start().unseal()
        client = server.http()
        self.assertEqual(client.list("kv").data["keys"], ["kept"])
        client.close()

    def test_what_it_put_on_disk_is_gone(self):
        server = harness.Server.temporary()
        pid, unix = server.directory / "pid", server.directory / "socket"
        text = server.config.read_text()
        server.config.write_text(f'{text}\npid_file = "{pid}"\nlistener "unix" {{\n  address = "{unix}"\n}}\n')
        self.addCleanup(server.remove)
        server.start()
        # It answers a moment before it has written its id: as Vault, once all of it has started.
        wait_until(pid.exists, 10, "the file with its process id")
        self.assertEqual(pid.read_text().strip(), str(server.pid))
        self.assertTrue(unix.is_socket())
        server.process.send_signal(signal.SIGTERM)
        self.assert_ended(server)
        self.assertFalse(pid.exists())
        self.assertFalse(unix.exists())

    def test_in_every_state_and_by_either_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.started()
            server.process.send_signal(number)
            self.assert_ended(server)
            server.start().init()
            server.process.send_signal(signal.SIGHUP)
            self.assertEqual(server.http(token="").get("sys/seal-status").json["sealed"], True)
            server.process.send_signal(number)
            self.assert_ended(server)
            server.start().unseal()
            server.process.send_signal(number)
            server.process.send_signal(number)
            self.assert_ended(server)
