"""The token auth method: kinds of token, their limits, their tree, roles."""

import pytest
from conftest import eventually, refused
from hvac import exceptions

LOOKUP_FIELDS = {"accessor", "creation_time", "creation_ttl", "display_name", "entity_id", "expire_time",
                 "explicit_max_ttl", "id", "meta", "num_uses", "orphan", "path", "policies", "ttl", "type"}
MONTH = 768 * 3600


def test_root_token(root, vault):
    data = root.auth.token.lookup_self()["data"]
    assert LOOKUP_FIELDS <= data.keys()
    assert (data["id"], data["policies"], data["ttl"], data["expire_time"]) == (vault.root_token, ["root"], 0, None)
    assert (data["path"], data["display_name"], data["orphan"], data["type"]) == ("auth/token/root", "root", True, "service")


def test_create_and_lookup(root, name, client_of):
    made = root.auth.token.create(policies=["default", name], ttl="1h", display_name="build", meta={"team": "a"})
    auth = made["auth"]
    assert auth["client_token"].startswith(("hvs.", "s."))
    assert auth["accessor"] and auth["renewable"] is True and auth["lease_duration"] == 3600
    assert auth["policies"] == sorted(["default", name]) == auth["token_policies"]
    assert (auth["metadata"], auth["token_type"], auth["orphan"], auth["num_uses"]) == ({"team": "a"}, "service", False, 0)
    # A policy that does not exist yet is named in a warning and granted all the same.
    assert made["warnings"] and name in made["warnings"][0]

    data = root.auth.token.lookup(auth["client_token"])["data"]
    assert LOOKUP_FIELDS <= data.keys()
    assert (data["display_name"], data["meta"], data["path"]) == ("token-build", {"team": "a"}, "auth/token/create")
    assert 3590 <= data["ttl"] <= 3600 and data["creation_ttl"] == 3600 and data["renewable"] is True
    assert data["expire_time"] and data["issue_time"]
    assert client_of(auth["client_token"]).auth.token.lookup_self()["data"]["accessor"] == auth["accessor"]

    by_accessor = root.auth.token.lookup_accessor(auth["accessor"])["data"]
    assert by_accessor["accessor"] == auth["accessor"] and by_accessor["id"] == ""
    assert auth["accessor"] in root.auth.token.list_accessors()["data"]["keys"]


def test_defaults(root, client_of):
    """Without a lifetime the system's default of 32 days; a child gets its parent's policies."""
    auth = root.auth.token.create(policies=["default"])["auth"]
    assert auth["lease_duration"] == MONTH
    parent = root.auth.token.create(policies=["child-maker"], ttl="1h")["auth"]["client_token"]
    root.sys.create_or_update_policy("child-maker", 'path "auth/token/create" { capabilities = ["create", "update"] }')
    child = client_of(parent).auth.token.create()["auth"]
    assert child["policies"] == ["child-maker", "default"]
    bare = client_of(parent).auth.token.create(no_default_policy=True)["auth"]
    assert bare["policies"] == ["child-maker"]


def test_child_policies_are_a_subset(root, client_of):
    root.sys.create_or_update_policy("subset", 'path "auth/token/create*" { capabilities = ["create", "update"] }')
    client = client_of(root.auth.token.create(policies=["subset"])["auth"]["client_token"])
    refused(exceptions.InvalidRequest, lambda: client.auth.token.create(policies=["other"]),
            "child policies must be subset of parent")
    refused(exceptions.InvalidRequest, lambda: client.auth.token.create(policies=["root"]))
    refused(exceptions.InvalidRequest, lambda: client.auth.token.create(no_parent=True),
            "root or sudo privileges required to create orphan token")
    refused(exceptions.InvalidRequest, lambda: client.auth.token.create(id="chosen"),
            "root or sudo privileges required to specify token id")
    # create-orphan needs only the capability on its path.
    assert client.auth.token.create_orphan(policies=["subset"])["auth"]["orphan"] is True


def test_chosen_id(root, name):
    assert root.auth.token.create(id=name, policies=["default"])["auth"]["client_token"] == name
    assert root.auth.token.lookup(name)["data"]["id"] == name
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(id=name, policies=["default"]))
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(id="s.abc", policies=["default"]),
            "custom token ID cannot have the 's.' prefix", "custom token ID cannot have the 'hvs.' or 's.' prefix")


def test_renewal(root, client_of):
    token = root.auth.token.create(policies=["default"], ttl="10m", explicit_max_ttl="1h")["auth"]["client_token"]
    client = client_of(token)
    assert client.auth.token.renew_self(increment="30m")["auth"]["lease_duration"] == 1800
    assert root.auth.token.renew(token, increment="20m")["auth"]["lease_duration"] == 1200
    accessor = root.auth.token.lookup(token)["data"]["accessor"]
    assert root.auth.token.renew_accessor(accessor, increment="25m")["auth"]["lease_duration"] == 1500
    capped = client.auth.token.renew_self(increment="5h")
    assert 3500 <= capped["auth"]["lease_duration"] <= 3600
    assert root.auth.token.lookup(token)["data"]["last_renewal_time"]
    fixed = root.auth.token.create(policies=["default"], ttl="10m", renewable=False)["auth"]
    assert fixed["renewable"] is False
    refused(exceptions.InvalidRequest, lambda: client_of(fixed["client_token"]).auth.token.renew_self())
    refused(exceptions.InvalidRequest, lambda: root.auth.token.renew("no-such-token"))


def test_expiry(root, client_of):
    short = client_of(root.auth.token.create(policies=["default"], ttl="1s")["auth"]["client_token"])
    assert short.auth.token.lookup_self()["data"]["ttl"] <= 1
    eventually(lambda: refused(exceptions.Forbidden, short.auth.token.lookup_self))


def test_explicit_max_ttl(root):
    made = root.auth.token.create(policies=["default"], ttl="2h", explicit_max_ttl="1h")
    assert made["auth"]["lease_duration"] == 3600
    assert made["warnings"]
    assert root.auth.token.lookup(made["auth"]["client_token"])["data"]["explicit_max_ttl"] == 3600


def test_periodic(root, client_of):
    made = root.auth.token.create(policies=["default"], period="1h")["auth"]
    assert made["lease_duration"] == 3600
    client = client_of(made["client_token"])
    data = client.auth.token.lookup_self()["data"]
    assert data["period"] == 3600 and data["explicit_max_ttl"] == 0
    # A period is what a renewal always gives, whatever was asked.
    assert client.auth.token.renew_self(increment="5h")["auth"]["lease_duration"] == 3600
    client_of(root.auth.token.create(policies=["default"])["auth"]["client_token"])
    root.sys.create_or_update_policy("no-sudo", 'path "auth/token/create" { capabilities = ["create", "update"] }')
    plain = client_of(root.auth.token.create(policies=["no-sudo"])["auth"]["client_token"])
    refused(exceptions.InvalidRequest, lambda: plain.auth.token.create(period="1h"),
            "root or sudo privileges required to create periodic token")


def test_limited_uses(root, client_of):
    made = root.auth.token.create(policies=["default"], num_uses=3)["auth"]
    assert made["num_uses"] == 3
    client = client_of(made["client_token"])
    assert client.auth.token.lookup_self()["data"]["num_uses"] == 2
    assert client.auth.token.lookup_self()["data"]["num_uses"] == 1
    # The last use works, and the token ends with it.
    client.auth.token.lookup_self()
    eventually(lambda: refused(exceptions.Forbidden, client.auth.token.lookup_self))
    eventually(lambda: refused(exceptions.Forbidden, lambda: root.auth.token.lookup(made["client_token"]), "bad token"))
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(policies=["default"], num_uses=-1))


def test_revocation(root, client_of):
    made = [root.auth.token.create(policies=["default"])["auth"] for _ in range(3)]
    root.auth.token.revoke(made[0]["client_token"])
    root.auth.token.revoke_accessor(made[1]["accessor"])
    client_of(made[2]["client_token"]).auth.token.revoke_self()
    accessors = root.auth.token.list_accessors()["data"]["keys"]
    for one in made:
        refused(exceptions.Forbidden, client_of(one["client_token"]).auth.token.lookup_self)
        refused(exceptions.Forbidden, lambda token=one["client_token"]: root.auth.token.lookup(token), "bad token")
        assert one["accessor"] not in accessors
        with pytest.raises((exceptions.InvalidRequest, exceptions.Forbidden), match="invalid accessor"):
            root.auth.token.lookup_accessor(one["accessor"])


def test_revoking_a_parent_revokes_the_children(root, client_of):
    root.sys.create_or_update_policy("tree", 'path "auth/token/*" { capabilities = ["create", "update", "sudo"] }')

    def family():
        parent = root.auth.token.create(policies=["tree"])["auth"]["client_token"]
        child = client_of(parent).auth.token.create()["auth"]["client_token"]
        grandchild = client_of(child).auth.token.create()["auth"]["client_token"]
        orphan = client_of(parent).auth.token.create(no_parent=True)["auth"]["client_token"]
        return parent, child, grandchild, orphan

    parent, child, grandchild, orphan = family()
    root.auth.token.revoke(parent)
    for token in (child, grandchild):
        eventually(lambda token=token: refused(exceptions.Forbidden, client_of(token).auth.token.lookup_self))
    assert client_of(orphan).auth.token.lookup_self()["data"]["orphan"] is True

    parent, child, grandchild, _ = family()
    root.auth.token.revoke_and_orphan_children(parent)
    refused(exceptions.Forbidden, client_of(parent).auth.token.lookup_self)
    assert client_of(child).auth.token.lookup_self()["data"]["orphan"] is True
    # Only the direct children are made orphans.
    assert client_of(grandchild).auth.token.lookup_self()["data"]["orphan"] is False
    root.auth.token.revoke(child)
    eventually(lambda: refused(exceptions.Forbidden, client_of(grandchild).auth.token.lookup_self))


def test_batch_tokens(root, client_of, kv1):
    root.sys.create_or_update_policy(kv1, f'path "{kv1}/*" {{ capabilities = ["create", "update", "read"] }}')
    auth = root.auth.token.create(type="batch", policies=[kv1], ttl="1h")["auth"]
    assert auth["client_token"].startswith(("hvb.", "b."))
    assert (auth["token_type"], auth["accessor"], auth["renewable"]) == ("batch", "", False)
    client = client_of(auth["client_token"])
    data = client.auth.token.lookup_self()["data"]
    assert (data["type"], data["accessor"], data["renewable"]) == ("batch", "", False)
    assert 3500 <= data["ttl"] <= 3600
    client.secrets.kv.v1.create_or_update_secret("a", {"v": "1"}, mount_point=kv1)
    assert client.secrets.kv.v1.read_secret("a", mount_point=kv1)["data"] == {"v": "1"}
    # A batch token has no storage: no renewal, no revocation, no children, no cubbyhole.
    refused(exceptions.InvalidRequest, lambda: client.auth.token.renew_self())
    refused(exceptions.InvalidRequest, lambda: root.auth.token.revoke(auth["client_token"]),
            "batch tokens cannot be revoked")
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(type="batch", policies=["default"], period="1h"),
            'batch tokens cannot have "period" set')
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(type="batch", policies=["default"], num_uses=2),
            'batch tokens cannot have "num_uses" set')
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(type="batch", policies=["root"]),
            "batch tokens cannot be root tokens")
    tampered = auth["client_token"][:-6] + ("AAAAAA" if not auth["client_token"].endswith("AAAAAA") else "BBBBBB")
    refused(exceptions.Forbidden, client_of(tampered).auth.token.lookup_self)


def test_batch_token_ends_with_its_parent(root, client_of):
    root.sys.create_or_update_policy("batch-maker", 'path "auth/token/create" { capabilities = ["update"] }')
    parent = root.auth.token.create(policies=["batch-maker"])["auth"]["client_token"]
    batch = client_of(parent).auth.token.create(type="batch")["auth"]["client_token"]
    client_of(batch).auth.token.lookup_self()
    root.auth.token.revoke(parent)
    refused(exceptions.Forbidden, client_of(batch).auth.token.lookup_self)


def test_roles(root, raw, name):
    root.auth.token.create_or_update_role(name, allowed_policies=["a", "b"], disallowed_policies=["c"], orphan=True,
                                          renewable=False, path_suffix="suffix")
    role = root.auth.token.read_role(name)["data"]
    assert (role["name"], role["allowed_policies"], role["disallowed_policies"]) == (name, ["a", "b"], ["c"])
    assert (role["orphan"], role["renewable"], role["path_suffix"]) == (True, False, "suffix")
    assert name in root.auth.token.list_roles()["data"]["keys"]
    auth = root.auth.token.create(role_name=name, policies=["a"])["auth"]
    assert auth["orphan"] is True and auth["renewable"] is False and auth["token_policies"] == ["a", "default"]
    data = root.auth.token.lookup(auth["client_token"])["data"]
    assert (data["path"], data["role"]) == (f"auth/token/create/{name}/suffix", name)
    # No policy asked: all that the role allows.
    assert root.auth.token.create(role_name=name)["auth"]["token_policies"] == ["a", "b", "default"]
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(role_name=name, policies=["other"]))
    assert root.auth.token.delete_role(name).status_code == 204
    refused(exceptions.InvalidPath, lambda: root.auth.token.read_role(name))
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(role_name=name), f"unknown role {name}")

    raw.expect(204, "POST", f"auth/token/roles/{name}", {
        "allowed_policies_glob": ["app-*"], "disallowed_policies": "app-root", "token_period": "2h",
        "token_no_default_policy": True, "token_bound_cidrs": ["10.0.0.0/8"], "token_num_uses": 5})
    role = raw.get(f"auth/token/roles/{name}").data
    assert role["token_period"] == 7200 and role["token_num_uses"] == 5
    refused(exceptions.InvalidRequest, lambda: root.auth.token.create(role_name=name, policies=["app-root"]))
    auth = root.auth.token.create(role_name=name, policies=["app-web"])["auth"]
    assert auth["lease_duration"] == 7200 and auth["token_policies"] == ["app-web"] and auth["num_uses"] == 5
    # Bound to a network this machine's loopback is not in.
    assert raw.get("auth/token/lookup-self", token=auth["client_token"]).status == 403


def test_bad_parameters(raw):
    for body in ({"ttl": "abc"}, {"ttl": "-1h"}, {"explicit_max_ttl": "x"}, {"type": "nonsense"}, {"period": "nope"}):
        answer = raw.post("auth/token/create", {"policies": ["default"], **body})
        assert answer.status == 400, (body, answer.text)
        assert answer.errors and answer.errors[0]


@pytest.mark.parametrize("header", ["X-Vault-Token", "Authorization"])
def test_both_token_headers(raw, vault, header):
    value = vault.root_token if header == "X-Vault-Token" else f"Bearer {vault.root_token}"
    assert raw.get("auth/token/lookup-self", token="", headers={header: value}).status == 200


def test_accessor_operations_on_unknown(raw):
    # Vault answers 403 where the accessor is unknown since 1.16, and answered 400 before.
    answer = raw.post("auth/token/lookup-accessor", {"accessor": "nope"})
    assert answer.status in (400, 403) and "invalid accessor" in answer.errors[0]
    assert raw.post("auth/token/renew-accessor", {"accessor": "nope"}).status in (400, 403)
    assert raw.post("auth/token/revoke", {"token": "nope"}).status in (200, 204)


def test_tidy(root):
    assert root.auth.token.tidy().status_code == 202
