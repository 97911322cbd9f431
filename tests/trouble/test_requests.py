"""Requests that are good HTTP and mean nothing good: paths, bodies, types. Each is a clear 4xx, and nothing is written."""

import json

from support import Trouble, wait_until

BODY = {"value": "written"}


class Paths(Trouble):
    def refused(self, method, path, *statuses, body=None):
        client = self.server.http(timeout_s=10)
        answer = client.request(method, path, body)
        client.close()
        self.assert_refused(answer, *statuses)
        self.assert_unharmed()
        return answer

    def test_unknown_paths(self):
        """Vault's texts, which clients match on."""
        for method in ("GET", "POST", "DELETE"):
            answer = self.refused(method, "nope/some/path", 404, body=BODY if method == "POST" else None)
            self.assertEqual(answer.errors, ['no handler for route "nope/some/path". route entry not found.'])
            answer = self.refused(method, "auth/nope/login", 404, body=BODY if method == "POST" else None)
            self.assertEqual(answer.errors, ['no handler for route "auth/nope/login". route entry not found.'])
            answer = self.refused(method, "sys/no-such-path", 404, body=BODY if method == "POST" else None)
            self.assertIn("unsupported path", answer.errors[0])
        self.assertEqual(self.refused("GET", "kv/none", 404).json, {"errors": []})
        for path in ("/", "/v1", "/v1/", "/v2/kv/kept", "/kv/kept", "/v1sys/health", "/favicon.ico"):
            self.refused("GET", path, 404)

    def test_unsupported_methods(self):
        for method, path in (("POST", "sys/mounts"), ("DELETE", "sys/health"), ("DELETE", "sys/seal-status"), ("POST", "sys/leader"),
                             ("LIST", "sys/health"), ("GET", "auth/token/create-orphan"), ("DELETE", "secret/config")):
            with self.subTest(method=method, path=path):
                answer = self.refused(method, path, 405)
                self.assertIn("unsupported operation", answer.errors[0])

    def test_paths_up_the_tree(self):
        for path in ("kv/../sys/mounts", "kv/a/../b", "kv/..", "kv/../kv/b", "kv/%2e%2e/b", "kv/a%2F..%2Fb", "kv/.%2e/b", "../v1/kv/b",
                     "secret/data/../data/b", "secret/data/a/%2e%2e/b", "sys/policies/acl/../../mounts/x"):
            with self.subTest(path=path):
                self.refused("POST", path, body=BODY if path.startswith("kv") else {"data": BODY})

    def test_control_characters(self):
        for code in (*range(0x20), 0x7F):
            for path in (f"kv/a%{code:02x}b", f"kv/%{code:02X}", f"secret/data/a%{code:02x}"):
                answer = self.root.post(path, {"data": BODY})
                self.assert_refused(answer, 400)
        self.assert_unharmed()

    def test_text_that_is_no_utf8(self):
        for bad in ("%ff", "%c3%28", "%e2%82", "%f0%28%8c%bc", "%ed%a0%80", "%c0%ae%c0%ae%2f", "a%80"):
            with self.subTest(bad=bad):
                self.refused("POST", f"kv/{bad}", 400, body=BODY)
                self.refused("POST", f"secret/data/{bad}", 400, body={"data": BODY})

    def test_escapes_that_are_none(self):
        """What is written is what was asked for, or nothing: half an escape is not another key."""
        for path in ("kv/a%", "kv/a%2", "kv/a%zz", "kv/%%%"):
            with self.subTest(path=path):
                self.refused("POST", path, 400, body=BODY)

    def test_an_escaped_slash_is_a_slash_for_policies_too(self):
        """Vault decodes %2F before it routes: the escaped path must be neither another key nor a way around a rule."""
        self.root.expect(204, "PUT", "sys/policies/acl/slash", {"policy": """
            path "kv/*" { capabilities = ["create", "read", "update", "delete", "list"] }
            path "kv/closed/*" { capabilities = ["deny"] }
        """})
        token = self.root.expect(200, "POST", "auth/token/create", {"policies": ["slash"], "no_default_policy": True}).json["auth"]["client_token"]
        for path in ("kv/closed/a", "kv/closed%2Fa", "kv/closed%2fa", "kv%2Fclosed%2Fa", "kv/%63losed/a"):
            with self.subTest(path=path):
                answer = self.root.post(path, BODY, token=token)
                self.assertEqual(answer.status, 403)
                self.assertIn("permission denied", answer.errors[0])
        self.assert_unharmed()
        self.root.expect(204, "POST", "kv/open%2Fa", BODY)
        self.assertEqual(self.root.get("kv/open/a").data, BODY)
        self.root.expect(204, "DELETE", "kv/open/a")
        self.assert_unharmed()

    def test_headers_that_mean_nothing(self):
        for name, value in (("X-Vault-Wrap-TTL", "soon"), ("X-Vault-Wrap-TTL", "-5"), ("X-Vault-Wrap-TTL", "1e400s"),
                            ("X-Vault-Namespace", "no/such"), ("X-Vault-Namespace", "../root"), ("X-Vault-Namespace", "a" * 5000)):
            with self.subTest(name=name, value=value[:10]):
                self.assert_refused(self.root.post("kv/headers", BODY, headers={name: value}))
                self.assert_unharmed()

    def test_queries_that_mean_nothing(self):
        for query in ("list=maybe", "help=%ff", "after=%00&list=true", "limit=-1&list=true", "limit=many&list=true", "&&&=&=a&%"):
            with self.subTest(query=query):
                self.assertLess(self.root.get(f"kv/kept?{query}").status, 500)
        self.assertEqual(self.root.get("kv/?list=maybe").status, 400)
        self.assertEqual(self.root.get("kv/?list=true&limit=many").status, 400)
        self.assert_unharmed()


class Bodies(Trouble):
    PATHS = ("kv/bad", "secret/data/bad", "auth/token/create", "sys/policies/acl/bad", "sys/mounts/bad")

    def refuse_all(self, body, *statuses, paths=PATHS, content_type="application/json"):
        mounts = self.root.get("sys/mounts").data.keys()
        for path in paths:
            answer = self.root.post(path, body, headers={"Content-Type": content_type})
            self.assert_refused(answer, *statuses, closing=False)
            self.assertTrue(answer.errors and answer.errors[0], f"{path}: no reason is given")
            # What was sent may be a secret: an answer, which may be logged, does not repeat it.
            self.assertNotIn("hunter2", answer.text)
        self.assertEqual(self.root.get("sys/mounts").data.keys(), mounts)
        self.assertEqual(self.root.get("sys/policies/acl/bad").status, 404)
        self.assert_unharmed()

    def test_malformed_json(self):
        for body in (b"{", b"}", b'{"value"', b'{"value":}', b'{"value":"hunter2"', b'{"value":"hunter2"}}', b'{"value":"hunter2"}{}', b"hunter2",
                     b"{'value':'hunter2'}", b'{"value":hunter2}', b'{"value":NaN}', b'{"value":01}', b'{"value":+1}',
                     b'{"value":"hunter2\n"}', b'{"value":"\\x"}', b'{"value":"hunter2",}', b"\xef\xbb\xbf{}", b"\0", b'{"value":"a\0b"}',
                     b"<value>hunter2</value>", b"value=hunter2"):
            with self.subTest(body=body):
                self.refuse_all(body, 400)

    def test_json_that_is_no_object(self):
        for body in (b"[]", b'"hunter2"', b"5", b"true", b"[[]]", b'[{"value":"hunter2"}]'):
            with self.subTest(body=body):
                self.refuse_all(body, 400)

    def test_text_that_is_no_utf8(self):
        for body in (b'{"value":"\xff"}', b'{"value":"\xc3\x28"}', b'{"\xff":"x"}', b'{"value":"\\ud800"}', b'{"value":"\xed\xa0\x80"}', b"\xff\xfe{}"):
            with self.subTest(body=body):
                self.refuse_all(body, 400)

    def test_nested_without_end(self):
        depth = 100_000
        for body in (b"[" * depth, b'{"a":' * depth, b'{"a":' + b"[" * depth + b"]" * depth + b"}", b'{"a":' * depth + b"1" + b"}" * depth,
                     b'{"a":' + b'[{"a":' * depth, b'{"a":"' + b"\\" * depth):
            with self.subTest(body=body[:8]):
                self.refuse_all(body, 400)

    def test_wrong_types(self):
        for path, body in (
            ("secret/data/bad", {"data": "text"}), ("secret/data/bad", {"data": [1]}), ("secret/data/bad", {"data": 5}),
            ("secret/data/bad", {"data": {}, "options": {"cas": "many"}}), ("secret/data/bad", {"data": {}, "options": {"cas": {}}}),
            ("secret/data/bad", {"data": {}, "options": "cas"}), ("secret/data/bad", {"options": {}}),
            ("secret/metadata/bad", {"max_versions": "many"}), ("secret/metadata/bad", {"max_versions": -1}),
            ("secret/metadata/bad", {"delete_version_after": "soon"}), ("secret/metadata/bad", {"custom_metadata": "x"}),
            ("secret/metadata/bad", {"custom_metadata": {"a": {"b": 1}}}), ("secret/metadata/bad", {"cas_required": "perhaps"}),
            ("secret/delete/kept", {"versions": "last"}), ("secret/destroy/kept", {"versions": {"a": 1}}), ("secret/destroy/kept", {}),
            ("kv/bad", {}), ("auth/token/create", {"ttl": {}}), ("auth/token/create", {"ttl": "soon"}), ("auth/token/create", {"num_uses": "many"}),
            ("auth/token/create", {"num_uses": -1}), ("auth/token/create", {"policies": {"a": 1}}), ("auth/token/create", {"type": "sacred"}),
            ("auth/token/create", {"renewable": "perhaps"}), ("sys/mounts/bad", {}), ("sys/mounts/bad", {"type": {}}),
            ("sys/mounts/bad", {"type": "no-such-engine"}), ("sys/mounts/bad", {"type": "kv", "options": "2"}),
            ("sys/mounts/bad", {"type": "kv", "config": {"default_lease_ttl": "soon"}}), ("sys/policies/acl/bad", {}),
            ("sys/policies/acl/bad", {"policy": "path {"}), ("sys/policies/acl/bad", {"policy": 'path "a" { capabilities = ["fly"] }'}),
            ("sys/wrapping/unwrap", {"token": ["a"]}), ("sys/leases/lookup", {"lease_id": {}}), ("sys/audit/bad", {"type": "file", "options": 5}),
        ):
            with self.subTest(path=path, body=body):
                self.refuse_all(json.dumps(body).encode(), 400, paths=(path,))

    def test_large_and_odd_bodies_are_kept_as_they_are(self):
        """What is not refused is stored whole: NUL as an escape, every plane of Unicode, numbers beyond 2^53."""
        for value in ("a\0b", "\u202e\ufeff\U0010ffff", "x" * 500_000, 12345678901234567890, [None, True, {"": []}], "\\u0000"):
            self.root.expect(204, "POST", "kv/odd", {"value": value})
            self.assertEqual(self.root.get("kv/odd").data, {"value": value})
            self.root.expect(200, "POST", "secret/data/odd", {"data": {"value": value}})
            self.assertEqual(self.root.get("secret/data/odd").data["data"], {"value": value})
        self.root.expect(204, "DELETE", "kv/odd")
        self.root.expect(204, "DELETE", "secret/metadata/odd")
        self.assert_unharmed()

    def test_the_same_name_twice(self):
        """Go and serde differ in which one counts; a request that says two things is not to be guessed at silently."""
        answer = self.root.post("kv/kept", b'{"value":"other","value":"kept"}')
        if answer.status == 204:
            self.assertEqual(self.root.get("kv/kept").data, {"value": "kept"})
        else:
            self.assert_refused(answer, 400)
        self.assert_unharmed()

    def test_many_refusals_cost_no_memory(self):
        def resident_mib():
            with open(f"/proc/{self.server.pid}/status") as status:
                return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))

        body = b'{"a":' + b"[" * 100_000
        for _ in range(20):
            self.root.post("kv/bad", body)
        before = resident_mib()
        for _ in range(200):
            self.root.post("kv/bad", body)
        wait_until(lambda: resident_mib() < before + 40, 5, f"memory given back, from {before} MiB")
        self.assert_unharmed()
