"""Leases: the ones that logins make, looked up and revoked through sys/leases."""

import pytest
from conftest import eventually, refused
from hvac import exceptions


@pytest.fixture
def logins(root, raw, name, client_of):
    """Three tokens from a fresh userpass mount, and the prefix of their leases."""
    root.sys.enable_auth_method("userpass", path=name)
    raw.expect(204, "POST", f"auth/{name}/users/u", {"password": "p", "token_ttl": "10m"})
    tokens = []
    for _ in range(3):
        client = client_of()
        client.auth.userpass.login("u", "p", mount_point=name)
        tokens.append(client)
    return tokens, f"auth/{name}/login/u"


def test_list_and_lookup(root, logins):
    _, prefix = logins
    keys = root.sys.list_leases(prefix)["data"]["keys"]
    assert len(keys) == 3
    assert prefix.rsplit("/", 1)[1] + "/" in root.sys.list_leases(prefix.rsplit("/", 1)[0])["data"]["keys"]
    lease = root.sys.read_lease(f"{prefix}/{keys[0]}")["data"]
    assert lease["id"] == f"{prefix}/{keys[0]}"
    assert 590 <= lease["ttl"] <= 600
    # A token's lease is renewed through the token alone.
    assert lease["renewable"] is True and lease["issue_time"] and lease["expire_time"]
    assert lease["last_renewal"] is None
    refused(exceptions.InvalidPath, lambda: root.sys.list_leases("auth/nothing-here"))


def test_revoke_one(root, logins):
    clients, prefix = logins
    keys = root.sys.list_leases(prefix)["data"]["keys"]
    root.sys.revoke_lease(f"{prefix}/{keys[0]}")
    alive = []

    def one_is_gone():
        alive.clear()
        for client in clients:
            try:
                client.auth.token.lookup_self()
                alive.append(client)
            except exceptions.Forbidden:
                pass
        return len(alive) == 2

    eventually(one_is_gone)
    assert sorted(root.sys.list_leases(prefix)["data"]["keys"]) == sorted(keys[1:])


def test_revoke_prefix(root, logins):
    clients, prefix = logins
    root.sys.revoke_prefix(prefix)
    for client in clients:
        eventually(lambda client=client: refused(exceptions.Forbidden, client.auth.token.lookup_self))
    refused(exceptions.InvalidPath, lambda: root.sys.list_leases(prefix))


def test_revoking_the_token_ends_the_lease(root, logins):
    clients, prefix = logins
    clients[0].auth.token.revoke_self()
    assert len(root.sys.list_leases(prefix)["data"]["keys"]) == 2


def test_bad_leases(root, raw):
    refused(exceptions.InvalidRequest, lambda: root.sys.read_lease("auth/nope/1"), "invalid lease")
    answer = raw.put("sys/leases/renew", {"lease_id": "auth/nope/1"})
    assert answer.status == 400 and answer.errors == ["lease not found"]
    assert raw.put("sys/leases/revoke", {"lease_id": "auth/nope/1"}).status == 204
    assert raw.put("sys/leases/lookup", {}).status == 400
    assert raw.put("sys/leases/renew", {}).status == 400


def test_older_paths(raw, not_openbao):
    """Vault keeps answering where leases were before they had a place of their own."""
    assert raw.put("sys/renew", {"lease_id": "auth/nope/1"}).errors == ["lease not found"]
    assert raw.put("sys/revoke", {"lease_id": "auth/nope/1"}).status == 204


def test_listing_leases_needs_sudo(with_policy, raw):
    client = with_policy('path "sys/leases/lookup/*" { capabilities = ["list"] }')
    assert raw.list("sys/leases/lookup/auth/", token=client.token).status == 403


def test_tidy(raw):
    assert raw.post("sys/leases/tidy").status in (202, 204)
