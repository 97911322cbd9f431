"""Secrets engines and auth methods: enabling, tuning, moving, disabling."""

import pytest
from conftest import eventually, refused
from hvac import exceptions


def test_default_mounts(root):
    mounts = root.sys.list_mounted_secrets_engines()["data"]
    assert {p: m["type"] for p, m in mounts.items() if p in ("sys/", "cubbyhole/")} == {
        "sys/": "system", "cubbyhole/": "cubbyhole"}
    methods = root.sys.list_auth_methods()["data"]
    assert methods["token/"]["type"] == "token"


def test_mount_life_cycle(root, raw, name):
    root.sys.enable_secrets_engine("kv", path=name, description="first", options={"version": "1"},
                                   config={"default_lease_ttl": "10m", "max_lease_ttl": "1h"})
    entry = root.sys.list_mounted_secrets_engines()["data"][f"{name}/"]
    assert (entry["type"], entry["description"], entry["options"]) == ("kv", "first", {"version": "1"})
    assert (entry["config"]["default_lease_ttl"], entry["config"]["max_lease_ttl"]) == (600, 3600)
    assert entry["accessor"].startswith("kv_") and entry["uuid"]
    assert (entry["local"], entry["seal_wrap"]) == (False, False)
    assert raw.get(f"sys/mounts/{name}").data["accessor"] == entry["accessor"]

    tuned = root.sys.read_mount_configuration(name)["data"]
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"], tuned["description"]) == (600, 3600, "first")
    root.sys.tune_mount_configuration(name, default_lease_ttl="20m", max_lease_ttl="2h", description="second",
                                      audit_non_hmac_request_keys=["a"], listing_visibility="unauth")
    tuned = root.sys.read_mount_configuration(name)["data"]
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"], tuned["description"]) == (1200, 7200, "second")
    assert tuned["audit_non_hmac_request_keys"] == ["a"] and tuned["listing_visibility"] == "unauth"

    root.secrets.kv.v1.create_or_update_secret("a", {"v": "1"}, mount_point=name)
    moved = f"{name}-moved"
    root.sys.move_backend(name, moved)
    eventually(lambda: root.secrets.kv.v1.read_secret("a", mount_point=moved)["data"] == {"v": "1"})
    refused(exceptions.InvalidPath, lambda: root.secrets.kv.v1.read_secret("a", mount_point=name))

    assert root.sys.disable_secrets_engine(moved).status_code == 204
    refused(exceptions.InvalidPath, lambda: root.secrets.kv.v1.read_secret("a", mount_point=moved))
    assert f"{moved}/" not in root.sys.list_mounted_secrets_engines()["data"]
    # What was mounted there before is gone, also for the next mount at that path.
    root.sys.enable_secrets_engine("kv", path=moved, options={"version": "1"})
    refused(exceptions.InvalidPath, lambda: root.secrets.kv.v1.read_secret("a", mount_point=moved))


def test_mount_conflicts(root, name):
    root.sys.enable_secrets_engine("kv", path=name)
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_secrets_engine("kv", path=name),
            f"path is already in use at {name}/")
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_secrets_engine("kv", path=f"{name}/below"),
            f"path is already in use at {name}/")
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_secrets_engine("nosuch", path=f"{name}-x"))
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_secrets_engine("kv", path="cubbyhole"),
            'cannot mount "cubbyhole/"')
    refused(exceptions.InvalidRequest, lambda: root.sys.disable_secrets_engine("sys"))
    # Disabling what is not there is no error.
    assert root.sys.disable_secrets_engine(f"{name}-absent").status_code == 204


def test_deeper_mounts_and_longest_prefix(root, name):
    root.sys.enable_secrets_engine("kv", path=f"{name}/team/a", options={"version": "1"})
    root.sys.enable_secrets_engine("kv", path=f"{name}/team/b", options={"version": "1"})
    for which in ("a", "b"):
        root.secrets.kv.v1.create_or_update_secret("x", {"v": which}, mount_point=f"{name}/team/{which}")
    assert root.read(f"{name}/team/a/x")["data"] == {"v": "a"}
    assert root.read(f"{name}/team/b/x")["data"] == {"v": "b"}


def test_auth_life_cycle(root, raw, name):
    root.sys.enable_auth_method("approle", path=name, description="first")
    entry = root.sys.list_auth_methods()["data"][f"{name}/"]
    assert (entry["type"], entry["description"]) == ("approle", "first")
    assert entry["accessor"].startswith("auth_approle_")
    root.sys.tune_auth_method(name, default_lease_ttl="5m", max_lease_ttl="10m", description="second",
                              token_type="service")
    tuned = root.sys.read_auth_method_tuning(name)["data"]
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"], tuned["description"]) == (300, 600, "second")
    assert tuned["token_type"] == "service"
    assert raw.get(f"sys/mounts/auth/{name}/tune").data["default_lease_ttl"] == 300
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_auth_method("approle", path=name),
            f"path is already in use at {name}/")
    assert root.sys.disable_auth_method(name).status_code == 204
    assert f"{name}/" not in root.sys.list_auth_methods()["data"]


def test_disabling_an_auth_method_revokes_its_tokens(root, raw, name, client_of):
    root.sys.enable_auth_method("userpass", path=name)
    raw.expect(204, "POST", f"auth/{name}/users/u", {"password": "p"})
    client = client_of()
    client.auth.userpass.login("u", "p", mount_point=name)
    assert client.auth.token.lookup_self()["data"]["path"] == f"auth/{name}/login/u"
    root.sys.disable_auth_method(name)
    eventually(lambda: refused(exceptions.Forbidden, client.auth.token.lookup_self))


def test_mount_tune_bounds_leases(root, raw, name, client_of):
    """An auth mount's max_lease_ttl caps the tokens that it issues."""
    root.sys.enable_auth_method("userpass", path=name, config={"default_lease_ttl": "5m", "max_lease_ttl": "10m"})
    raw.expect(204, "POST", f"auth/{name}/users/u", {"password": "p", "token_ttl": "30m"})
    answer = raw.post(f"auth/{name}/login/u", {"password": "p"}, token="")
    assert 0 < answer.json["auth"]["lease_duration"] <= 600


def test_unknown_routes(raw, name):
    answer = raw.get(f"{name}/x")
    assert answer.status == 404
    assert answer.errors == [f'no handler for route "{name}/x". route entry not found.']
    assert raw.get(f"auth/{name}/x").status == 404


def test_ui_mounts(raw, root, kv2, with_policy):
    """What `vault kv` asks to learn a mount's version."""
    client = with_policy(f'path "{kv2}/data/a" {{ capabilities = ["read"] }}')
    mount = raw.get(f"sys/internal/ui/mounts/{kv2}/data/a", token=client.token).data
    assert (mount["path"], mount["type"], mount["options"]) == (f"{kv2}/", "kv", {"version": "2"})
    denied = raw.get(f"sys/internal/ui/mounts/{kv2}x/a", token=client.token)
    assert denied.status == 403
    visible = raw.get("sys/internal/ui/mounts", token=client.token).data["secret"]
    assert f"{kv2}/" in visible


@pytest.mark.parametrize("version", ["1", "2"])
def test_kv_aliases(root, raw, name, version):
    """`kv-v2` is the name the CLI mounts version 2 under."""
    raw.expect(204, "POST", f"sys/mounts/{name}", {"type": "kv" if version == "1" else "kv-v2"})
    options = raw.get(f"sys/mounts/{name}").data["options"] or {"version": "1"}
    assert options["version"] == version
