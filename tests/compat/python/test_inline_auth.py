"""Requests that carry a login in their headers, as OpenBao documents them."""

import base64
import json

import pytest
from conftest import audit_records


def parameter(key, value):
    text = json.dumps({"key": key, "value": value})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.fixture
def inline(product, vault, raw, root, name):
    """Sends a request with a login of a userpass user whose policy is given; skips where that does not exist."""
    if product == "vault":
        pytest.skip("Vault has no inline authentication")
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    root.sys.create_or_update_policy(name, f'path "{name}-kv1/*" {{ capabilities = ["create", "read", "update"] }}')
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p-of-ann", "token_policies": [name]})
    connection = vault.http("")

    def send(method, path, body=None, password="p-of-ann", token="", **headers):
        sent = {"X-Vault-Inline-Auth-Path": f"auth/{name}/login/ann", "X-Vault-Inline-Auth-Parameter-a": parameter("password", password), **headers}
        return connection.request(method, path, body, headers=sent, token=token)

    yield send
    connection.close()


def test_reads_and_writes(inline, kv1, raw, name):
    before = len(raw.list("auth/token/accessors").data["keys"])
    assert inline("POST", f"{kv1}/a", {"b": "c"}).status == 204
    reply = inline("GET", f"{kv1}/a")
    assert (reply.status, reply.data, reply.json["auth"]) == (200, {"b": "c"}, None)
    assert len(raw.list("auth/token/accessors").data["keys"]) == before
    refusal = inline("GET", "sys/mounts")
    assert refusal.status == 403 and "x-vault-inline-auth-failed" not in refusal.headers


def test_failed_logins(inline, kv1):
    reply = inline("GET", f"{kv1}/a", password="wrong")
    assert reply.status == 400 and reply.headers["x-vault-inline-auth-failed"] == "true"
    assert inline("GET", f"{kv1}/a", token="some-token").status >= 400
    for headers in [
        {"X-Vault-Inline-Auth-Operation": "list"},
        {"X-Vault-Inline-Auth-Parameter-b": "no base64!"},
        {"X-Vault-Inline-Auth-Namespace": "nowhere"},
    ]:
        assert inline("GET", f"{kv1}/a", **headers).status >= 400


def test_nothing_is_kept(inline, root, name):
    allowed = 'path "auth/token/create" { capabilities = ["update"] }\npath "cubbyhole/*" { capabilities = ["read", "update", "create"] }'
    root.sys.create_or_update_policy(name, allowed)
    assert inline("POST", "auth/token/create", {}).status >= 400
    assert inline("POST", "cubbyhole/a", {"b": "c"}).status >= 400


def test_both_are_audited(inline, vault, kv1, name):
    inline("POST", f"{kv1}/a", {"b": "c"})
    login = audit_records(vault, type="response", path=f"auth/{name}/login/ann")
    write = audit_records(vault, type="request", path=f"{kv1}/a")
    assert len(login) == len(write) == 1
    assert login[0]["auth"]["client_token"] == write[0]["auth"]["client_token"]
    assert "p-of-ann" not in vault.audit_file.read_text()
