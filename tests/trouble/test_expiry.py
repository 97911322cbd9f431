"""Time: what lapses is refused at once and gone soon after, while the server runs and while it does not."""

import time

from support import Trouble, wait_until

TTL_S = 2
# Housekeeping looks once a second; the rest is for a busy machine.
GONE_LIMIT_S = 10
TOKEN_LEASES = "sys/leases/lookup/auth/token/create"


class Expiry(Trouble):
    def made(self, token=None, **fields):
        """A new token under the default policy."""
        return self.root.expect(200, "POST", "auth/token/create", {"policies": ["default"], **fields}, token=token).json["auth"]

    def leased(self):
        return set((self.root.list(TOKEN_LEASES).data or {}).get("keys", []))

    def made_with_lease(self, token=None, **fields):
        """A new token, and the id of its lease."""
        before = self.leased()
        auth = self.made(token, **fields)
        lease, = self.leased() - before
        return auth, f"auth/token/create/{lease}"

    def status(self, token, path="auth/token/lookup-self"):
        return self.root.get(path, token=token).status

    def wait_refused(self, token, limit_s=TTL_S + 3):
        wait_until(lambda: self.status(token) == 403, limit_s, "the token is refused")

    def assert_gone(self, auth, lease=None):
        """Neither token, nor accessor, nor lease is known any more, and no list names them."""
        token, accessor = auth["client_token"], auth["accessor"]
        self.assertEqual(self.status(token), 403)
        wait_until(lambda: self.root.post("auth/token/lookup-accessor", {"accessor": accessor}).status in (400, 403, 404), GONE_LIMIT_S, "the accessor is gone")
        wait_until(lambda: accessor not in self.root.list("auth/token/accessors").data["keys"], GONE_LIMIT_S, "the accessor is listed no more")
        self.assertIn(self.root.post("auth/token/lookup", {"token": token}).status, (403, 404))
        self.assertIn(self.root.post("auth/token/renew", {"token": token}).status, (400, 403, 404))
        if lease:
            wait_until(lambda: self.root.post("sys/leases/lookup", {"lease_id": lease}).status == 400, GONE_LIMIT_S, "the lease is gone")
            self.assertNotIn(lease.rsplit("/", 1)[1], self.leased())
            self.assertEqual(self.root.put("sys/leases/renew", {"lease_id": lease}).status, 400)

    def assert_alive(self, auth, lease=None):
        self.assertEqual(self.status(auth["client_token"]), 200)
        self.assertEqual(self.root.post("auth/token/lookup-accessor", {"accessor": auth["accessor"]}).status, 200)
        if lease:
            found = self.root.post("sys/leases/lookup", {"lease_id": lease})
            self.assertEqual((found.status, found.data["id"]), (200, lease))

    # Tokens

    def test_a_token_and_all_below_it(self):
        self.root.expect(204, "PUT", "sys/policies/acl/makes", {"policy": 'path "auth/token/create*" { capabilities = ["create", "update", "sudo"] }'})
        begun = time.monotonic()
        parent, parent_lease = self.made_with_lease(ttl=f"{TTL_S}s", policies=["default", "makes"])
        child, child_lease = self.made_with_lease(parent["client_token"], ttl="1h", policies=["default", "makes"])
        grandchild, grandchild_lease = self.made_with_lease(child["client_token"], ttl="1h", policies=["default"])
        orphan = self.made(parent["client_token"], ttl="1h", policies=["default"], no_parent=True)
        self.assert_alive(parent, parent_lease)
        self.assert_alive(grandchild, grandchild_lease)
        self.wait_refused(parent["client_token"])
        lasted = time.monotonic() - begun
        self.assertGreater(lasted, TTL_S - 1, "refused before its time")
        for auth, lease in ((parent, parent_lease), (child, child_lease), (grandchild, grandchild_lease)):
            self.wait_refused(auth["client_token"], GONE_LIMIT_S)
            self.assert_gone(auth, lease)
        self.assert_alive(orphan)
        self.root.expect(204, "POST", "auth/token/revoke", {"token": orphan["client_token"]})

    def test_cubbyhole_goes_with_its_token(self):
        auth = self.made(ttl=f"{TTL_S}s")
        self.root.expect(204, "POST", "cubbyhole/mine", {"value": "planted-in-cubbyhole"}, token=auth["client_token"])
        self.wait_refused(auth["client_token"])
        self.assertEqual(self.status(auth["client_token"], "cubbyhole/mine"), 403)
        self.assert_gone(auth)

    def test_renewing_counts(self):
        """Of two tokens of one age the renewed one outlives the other, and no longer than its explicit maximum."""
        control = self.made(ttl=f"{TTL_S}s")
        renewed = self.made(ttl=f"{TTL_S}s")
        limited = self.made(ttl=f"{TTL_S}s", explicit_max_ttl=f"{TTL_S}s")
        periodic = self.made(period="1h")
        answer = self.root.expect(200, "POST", "auth/token/renew-self", {"increment": "1h"}, token=renewed["client_token"])
        self.assertGreater(answer.json["auth"]["lease_duration"], 60)
        answer = self.root.expect(200, "POST", "auth/token/renew-self", {"increment": "1h"}, token=limited["client_token"])
        self.assertLessEqual(answer.json["auth"]["lease_duration"], TTL_S)
        self.wait_refused(control["client_token"])
        self.wait_refused(limited["client_token"])
        self.assert_alive(renewed)
        self.assert_alive(periodic)
        self.assertEqual(self.root.post("auth/token/renew-self", token=control["client_token"]).status, 403)

    def test_batch_tokens(self):
        parent = self.made(ttl=f"{TTL_S}s")
        batch = self.made(ttl=f"{TTL_S}s", type="batch")
        self.assertTrue(batch["client_token"].startswith("hvb."))
        self.assertEqual(self.status(batch["client_token"]), 200)
        self.wait_refused(batch["client_token"])
        self.wait_refused(parent["client_token"])

    def test_logins(self):
        self.root.expect(204, "POST", "sys/auth/userpass", {"type": "userpass"})
        self.root.expect(204, "POST", "sys/auth/approle", {"type": "approle"})
        self.addCleanup(self.root.delete, "sys/auth/userpass")
        self.addCleanup(self.root.delete, "sys/auth/approle")
        self.root.expect(204, "POST", "auth/userpass/users/ann", {"password": "correct", "token_ttl": f"{TTL_S}s", "token_policies": "default"})
        self.root.expect(204, "POST", "auth/approle/role/app", {"token_ttl": f"{TTL_S}s", "secret_id_ttl": f"{TTL_S}s", "token_policies": "default"})
        role = self.root.get("auth/approle/role/app/role-id").data["role_id"]
        secret = self.root.expect(200, "POST", "auth/approle/role/app/secret-id").data
        tokens = [self.root.expect(200, "POST", "auth/userpass/login/ann", {"password": "correct"}, token="").json["auth"]]
        login = {"role_id": role, "secret_id": secret["secret_id"]}
        tokens.append(self.root.expect(200, "POST", "auth/approle/login", login, token="").json["auth"])
        for auth in tokens:
            self.assertEqual(auth["lease_duration"], TTL_S)
            self.assert_alive(auth)
        for auth in tokens:
            self.wait_refused(auth["client_token"])
            self.assert_gone(auth)
        refused = wait_until(lambda: (answer := self.root.post("auth/approle/login", login, token="")).status == 400 and answer, TTL_S + 3, "the secret id is refused")
        self.assertIn("invalid", refused.errors[0])
        lookup = {"secret_id_accessor": secret["secret_id_accessor"]}
        wait_until(lambda: self.root.post("auth/approle/role/app/secret-id-accessor/lookup", lookup).status in (400, 403, 404), GONE_LIMIT_S, "the secret id is gone")

    # What else lapses

    def test_wrapped_answers(self):
        wrap = self.root.expect(200, "GET", "kv/kept", headers={"X-Vault-Wrap-TTL": "1s"}).json["wrap_info"]
        kept = self.root.expect(200, "GET", "kv/kept", headers={"X-Vault-Wrap-TTL": "1h"}).json["wrap_info"]
        self.assertEqual(wrap["ttl"], 1)
        wait_until(lambda: self.root.post("sys/wrapping/lookup", {"token": wrap["token"]}, token="").status == 400, 5, "the wrapping has lapsed")
        for answer in (self.root.post("sys/wrapping/unwrap", {"token": wrap["token"]}), self.root.post("sys/wrapping/unwrap", token=wrap["token"]),
                       self.root.post("sys/wrapping/rewrap", {"token": wrap["token"]})):
            self.assertIn(answer.status, (400, 403), answer.text)
            self.assertNotIn("kept", answer.text)
        # One that has not lapsed is answered, once.
        self.assertEqual(self.root.post("sys/wrapping/unwrap", token=kept["token"]).data, {"value": "kept"})
        self.assertIn(self.root.post("sys/wrapping/unwrap", token=kept["token"]).status, (400, 403))

    def test_versions_with_an_end(self):
        self.root.expect(204, "POST", "secret/metadata/brief", {"delete_version_after": "1s"})
        self.root.expect(200, "POST", "secret/data/brief", {"data": {"value": "planted-in-version"}})
        gone = wait_until(lambda: (answer := self.root.get("secret/data/brief")).status == 404 and answer, 5, "the version is deleted")
        self.assertIsNone(gone.data["data"])
        self.assertTrue(gone.data["metadata"]["deletion_time"])
        self.assertNotIn("planted-in-version", gone.text)
        self.root.expect(204, "DELETE", "secret/metadata/brief")
        self.assert_unharmed()

    # While the server is down

    def away(self, how):
        """Tokens that lapse while the server is down are refused from the first request on, and then cleared away."""
        self.root.expect(204, "PUT", "sys/policies/acl/makes", {"policy": 'path "auth/token/create*" { capabilities = ["create", "update"] }'})
        parent, parent_lease = self.made_with_lease(ttl=f"{TTL_S}s", policies=["default", "makes"])
        child, child_lease = self.made_with_lease(parent["client_token"], ttl="1h", policies=["default"])
        long, long_lease = self.made_with_lease(ttl="1h")
        batch = self.made(ttl=f"{TTL_S}s", type="batch")
        wrap = self.root.expect(200, "GET", "kv/kept", headers={"X-Vault-Wrap-TTL": f"{TTL_S}s"}).json["wrap_info"]
        lapsed = time.monotonic() + TTL_S + 0.2
        self.root.close()
        how()
        self.assertIsNotNone(self.server.process.poll())
        wait_until(lambda: time.monotonic() > lapsed, TTL_S + 1, "the moment has passed")
        self.server.start().unseal()
        first = [self.status(parent["client_token"]), self.status(batch["client_token"]),
                 self.root.post("sys/wrapping/unwrap", token=wrap["token"]).status]
        self.assertEqual(first[:2], [403, 403], "a token that had lapsed was taken")
        self.assertIn(first[2], (400, 403))
        self.wait_refused(child["client_token"], GONE_LIMIT_S)
        self.assert_gone(parent, parent_lease)
        self.assert_gone(child, child_lease)
        self.assert_alive(long, long_lease)
        self.assert_unharmed()

    def test_while_the_server_is_stopped(self):
        self.away(self.server.stop)

    def test_while_the_server_is_killed(self):
        self.away(self.server.kill)

    def test_while_the_server_is_sealed(self):
        auth, lease = self.made_with_lease(ttl=f"{TTL_S}s")
        lapsed = time.monotonic() + TTL_S + 0.2
        self.root.expect(204, "PUT", "sys/seal")
        wait_until(lambda: time.monotonic() > lapsed, TTL_S + 1, "the moment has passed")
        self.assertEqual(self.status(auth["client_token"]), 503)
        self.server.unseal()
        self.assertEqual(self.status(auth["client_token"]), 403)
        self.assert_gone(auth, lease)
        self.assert_unharmed()

    def test_many_at_once(self):
        """A thousand tokens that lapse together are cleared away while other requests are served."""
        before = len(self.root.list("auth/token/accessors").data["keys"])
        for _ in range(1000):
            self.made(ttl=f"{TTL_S}s")
        begun, slowest = time.monotonic(), 0

        def cleared():
            nonlocal slowest
            asked = time.monotonic()
            self.assertEqual(self.root.get("kv/kept").status, 200)
            slowest = max(slowest, time.monotonic() - asked)
            return len(self.root.list("auth/token/accessors").data["keys"]) <= before

        wait_until(cleared, TTL_S + GONE_LIMIT_S, "all are cleared away")
        self.assertLess(slowest, 1, f"a request waited for housekeeping ({time.monotonic() - begun:.1f} s in all)")
