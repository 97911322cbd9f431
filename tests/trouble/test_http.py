"""HTTP as it should not be: each request is refused or the connection closed, and nothing is written."""

from support import Trouble, head

MAX_REQUEST_SIZE = 1 << 20
BODY = '{"value":"written"}'


class Http(Trouble):
    options = {"listener_config": f"max_request_size = {MAX_REQUEST_SIZE}"}

    def setUp(self):
        self.token = self.server.root_token

    def refused(self, *parts, statuses=(), method="POST", end=False):
        """Sends `parts` on a connection of their own, checks that they are refused, and returns the answer."""
        wire = self.wire()
        wire.try_to_send(*parts)
        if end:
            wire.end_sending()
        answer = wire.answer(method)
        self.assert_refused(answer, *statuses)
        self.assert_unharmed()
        return answer

    def post(self, path, *fields, body=BODY, **more):
        return head("POST", path, *fields, token=self.token, length=len(body), **more) + body

    # Heads

    def test_header_over_the_limit(self):
        self.refused(self.post("/v1/kv/big", "X-Big: " + "x" * (4 << 20)))

    def test_head_that_never_ends(self):
        wire = self.wire()
        wire.send("POST /v1/kv/big HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(4 << 10):
            wire.try_to_send("X-More: " + "x" * 1015 + "\r\n")
        self.assert_refused(wire.answer())
        self.assert_unharmed()

    def test_a_thousand_headers(self):
        self.refused(self.post("/v1/kv/many", *(f"X-{n}: {n}" for n in range(1000))))

    def test_request_line_too_long(self):
        self.refused(self.post("/v1/kv/" + "x" * (2 << 20)), statuses=(400, 414, 431))

    def test_long_path_is_refused_or_stored_whole(self):
        for length in (5_000, 60_000):
            path = "kv/" + "x" * length
            answer = self.wire().send(self.post(f"/v1/{path}")).answer("POST")
            if answer is not None and answer.status == 204:
                self.assertEqual(self.root.get(path).data, {"value": "written"})
                self.root.expect(204, "DELETE", path)
            else:
                self.assert_refused(answer)
            self.assert_unharmed()

    def test_no_host(self):
        """RFC 9112, 3.2: a server must answer 400 to an HTTP/1.1 request without a Host field, or with two."""
        self.refused(self.post("/v1/kv/host", host=False), statuses=(400,))
        self.refused(self.post("/v1/kv/host", "Host: other"), statuses=(400,))

    def test_malformed_heads(self):
        for text in (
            "\r\n\r\n\r\n", "POST\r\n\r\n", "POST /v1/kv/bad\r\n\r\n", "POST /v1/kv/bad HTTP/9.9\r\n\r\n",
            "POST /v1/kv/bad FTP/1.1\r\nHost: localhost\r\n\r\n", "POST  /v1/kv/bad HTTP/1.1 \r\nHost: localhost\r\n\r\n",
            "POST /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
            "POST /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nX-Bad : x\r\n\r\n",
            "POST /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nX-Bad: a\0b\r\n\r\n",
            "POST /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
            "POST /v1/kv/b ad HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 500,  # TLS where none is spoken
            "\0" * 1000 + "\r\n\r\n",
        ):
            with self.subTest(text=text[:60]):
                self.refused(text, end=True)

    def test_bytes_in_the_path_that_no_target_has(self):
        for byte in (b"\0", b"\x01", b"\x7f", b"\xff", b"\xc3\x28"):
            with self.subTest(byte=byte):
                line = b"POST /v1/kv/a" + byte + b"b HTTP/1.1\r\n"
                rest = self.post("/").split("\r\n", 1)[1]
                self.refused(line, rest, end=True)

    def test_tokens_that_are_no_text(self):
        for token in (b"\xff\xfe", b"hvs.\xc3\x28", b"x" * 100_000):
            with self.subTest(token=token[:10]):
                fields = b"Host: localhost\r\nX-Vault-Token: " + token + b"\r\nContent-Length: 19\r\n\r\n"
                self.refused(b"POST /v1/kv/token HTTP/1.1\r\n" + fields, BODY)

    # Lengths and chunks

    def test_body_over_the_limit(self):
        body = '{"value":"' + "x" * MAX_REQUEST_SIZE + '"}'
        wire = self.wire()
        wire.try_to_send(self.post("/v1/kv/big", body=body))
        answer = wire.answer("POST")
        self.assertIsNotNone(answer, "the connection was closed without an answer")
        self.assertEqual(answer.status, 413, answer.text)
        self.assertTrue(answer.errors and answer.errors[0])
        self.assert_unharmed()

    def test_chunked_body_over_the_limit(self):
        wire = self.wire()
        wire.send(head("POST", "/v1/kv/big", "Transfer-Encoding: chunked", token=self.token))
        wire.try_to_send('b\r\n{"value":"x\r\n', *(f"10000\r\n{'x' * 0x10000}\r\n" for _ in range(32)), '2\r\n"}\r\n0\r\n\r\n')
        self.assert_refused(wire.answer("POST"), 413)
        self.assert_unharmed()

    def test_lengths_that_lie(self):
        short, long = len(BODY) - 4, len(BODY) + 4
        self.refused(head("POST", "/v1/kv/lie", token=self.token, length=short), BODY, statuses=(400,))
        self.refused(head("POST", "/v1/kv/lie", token=self.token, length=long), BODY, statuses=(400,), end=True)

    def test_lengths_that_are_none(self):
        for length in ("-1", "+19", "0x13", "19, 20", "many", "1e1", "99999999999999999999999"):
            with self.subTest(length=length):
                self.refused(head("POST", "/v1/kv/lie", token=self.token, length=length), BODY, end=True)
        self.refused(head("POST", "/v1/kv/lie", "Content-Length: 18", token=self.token, length=19), BODY, statuses=(400,))

    def test_chunks_that_are_none(self):
        start = head("POST", "/v1/kv/chunk", "Transfer-Encoding: chunked", token=self.token)
        for chunks in ("ZZ\r\n", "-5\r\n" + BODY, "13\r\n" + BODY, "13\r\n" + BODY + "\r\n", "ffffffffffffffffff\r\n" + BODY,
                       "13 \n\n" + BODY, "12\r\n" + BODY + "\r\n0\r\n\r\n", "13\r\n" + BODY + "xx0\r\n\r\n", "\r\n\r\n"):
            with self.subTest(chunks=chunks[:12]):
                self.refused(start, chunks, end=True)

    def test_other_transfer_encodings(self):
        for encoding in ("gzip", "chunked, gzip", "identity", "xchunked"):
            with self.subTest(encoding=encoding):
                start = head("POST", "/v1/kv/chunk", f"Transfer-Encoding: {encoding}", token=self.token)
                self.refused(start, f"13\r\n{BODY}\r\n0\r\n\r\n", end=True)

    def test_length_and_chunks_together_smuggle_nothing(self):
        """RFC 9112, 6.3: such a message is an error or read as chunks; what may be a second request is never served."""
        smuggled = head("POST", "/v1/kv/smuggled", token=self.token, length=len(BODY)) + BODY
        wire = self.wire()
        chunks = "2\r\n{}\r\n0\r\n\r\n"
        start = head("POST", "/v1/sys/no-such-path", "Transfer-Encoding: chunked", token=self.token, length=len(chunks) + len(smuggled))
        wire.try_to_send(start, chunks, smuggled)
        self.assert_refused(wire.answer("POST"))
        self.assertTrue(wire.is_closed(), "the connection is used again after a message of two lengths")
        self.assert_unharmed()

    def test_refused_before_the_body_was_read(self):
        """A refusal for the head alone: the connection can be used again, or the answer says that it cannot."""
        for path in ("/v1/kv/%ff", "/v2/kv/kept", "/v1/"):
            with self.subTest(path=path):
                wire = self.wire()
                wire.send(head("POST", path, token=self.token, length=len(BODY)))
                answer = wire.answer("POST")
                self.assert_refused(answer, 400, 404, closing=False)
                if answer.headers.get("connection") == "close":
                    self.assertTrue(wire.is_closed())
                    continue
                wire.try_to_send(BODY, head("GET", "/v1/kv/kept", token=self.token))
                answer = wire.answer()
                self.assertIsNotNone(answer, "the connection was closed, and the answer before did not say so")
                self.assertEqual(answer.status, 200)
        self.assert_unharmed()

    # Forms that are unusual and right

    def test_http_1_0(self):
        wire = self.wire()
        wire.send("GET /v1/sys/health HTTP/1.0\r\n\r\n")
        answer = wire.answer()
        self.assertEqual((answer.status, answer.json["initialized"]), (200, True))
        self.assertTrue(wire.is_closed())

    def test_absolute_form(self):
        """RFC 9112, 3.2.2: a server must accept the absolute form."""
        target = f"{self.server.address}/v1/kv/kept"
        answer = self.wire().send(head("GET", target, token=self.token)).answer()
        self.assertEqual((answer.status, answer.data), (200, {"value": "kept"}))
        self.refused(head("GET", f"{self.server.address}/v1/kv/../../etc/passwd", token=self.token), method="GET")

    def test_chunked_body(self):
        start = head("POST", "/v1/kv/kept", "Transfer-Encoding: chunked", token=self.token)
        chunks = "".join(f"1;x=y\r\n{byte}\r\n" for byte in '{"value":"kept"}') + "0\r\nX-Trailer: x\r\n\r\n"
        self.assertEqual(self.wire().send(start, chunks).answer("POST").status, 204)
        self.assert_unharmed()

    def test_expect_continue(self):
        wire = self.wire()
        wire.send(head("POST", "/v1/kv/kept", "Expect: 100-continue", token=self.token, length=16))
        self.assertTrue(wire.socket.recv(100).startswith(b"HTTP/1.1 100 "))
        self.assertEqual(wire.send('{"value":"kept"}').answer("POST").status, 204)
        self.assert_unharmed()

    def test_methods(self):
        for method in ("OPTIONS", "TRACE", "BREW", "CONNECT", "post", "PROPFIND"):
            with self.subTest(method=method):
                self.refused(head(method, "/v1/kv/method", token=self.token, length=len(BODY)), BODY, method="GET")

    def test_upgrades_are_not_taken_up(self):
        wire = self.wire()
        wire.send(head("GET", "/v1/sys/health", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"))
        self.assertEqual(wire.answer().status, 200)
        self.assert_unharmed()

    def test_garbage_after_the_preface_of_http_2(self):
        for garbage in (b"\xff" * 200, b"\0\0\1\5" * 100, b""):
            wire = self.wire()
            wire.try_to_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", garbage).end_sending()
            self.assertTrue(wire.is_closed())
        self.assert_unharmed()
