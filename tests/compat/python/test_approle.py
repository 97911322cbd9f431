"""The AppRole auth method."""

import pytest
from conftest import eventually, refused
from hvac import exceptions


@pytest.fixture
def approle(root, name):
    """The path of a fresh AppRole mount."""
    root.sys.enable_auth_method("approle", path=name)
    return name


@pytest.fixture
def role(root, approle):
    """Makes role "r" with options and returns its role id."""

    def make(**options):
        root.auth.approle.create_or_update_approle("r", mount_point=approle, **{"token_policies": ["default"], **options})
        return root.auth.approle.read_role_id("r", mount_point=approle)["data"]["role_id"]

    return make


INVALID = "invalid role or secret ID"
INVALID_SECRET = (INVALID, "invalid secret id", "invalid role ID", "invalid role_id or secret_id")


def test_roles(root, raw, approle):
    at = {"mount_point": approle}
    refused(exceptions.InvalidPath, lambda: root.auth.approle.list_roles(**at))
    root.auth.approle.create_or_update_approle(
        "web", bind_secret_id=True, secret_id_num_uses=7, secret_id_ttl="10m", token_ttl="20m", token_max_ttl="1h",
        token_policies=["b", "a"], token_num_uses=9, token_no_default_policy=True, token_type="service",
        token_bound_cidrs=["127.0.0.0/8"], **at)
    data = root.auth.approle.read_role("web", **at)["data"]
    assert {k: data[k] for k in ("bind_secret_id", "secret_id_num_uses", "secret_id_ttl", "token_ttl", "token_max_ttl",
                                 "token_num_uses", "token_no_default_policy", "token_type")} == {
        "bind_secret_id": True, "secret_id_num_uses": 7, "secret_id_ttl": 600, "token_ttl": 1200, "token_max_ttl": 3600,
        "token_num_uses": 9, "token_no_default_policy": True, "token_type": "service"}
    assert sorted(data["token_policies"]) == ["a", "b"] and data["token_bound_cidrs"] == ["127.0.0.0/8"]
    assert (data["token_explicit_max_ttl"], data["token_period"]) == (0, 0)
    # A second write changes what it names and nothing else.
    raw.expect(204, "POST", f"auth/{approle}/role/web", {"token_ttl": 60})
    data = raw.get(f"auth/{approle}/role/web").data
    assert (data["token_ttl"], data["token_max_ttl"], data["secret_id_num_uses"]) == (60, 3600, 7)
    root.auth.approle.create_or_update_approle("api", **at)
    assert sorted(root.auth.approle.list_roles(**at)["data"]["keys"]) == ["api", "web"]
    root.auth.approle.delete_role("web", **at)
    refused(exceptions.InvalidPath, lambda: root.auth.approle.read_role("web", **at))
    refused(exceptions.InvalidPath, lambda: root.auth.approle.read_role_id("web", **at))
    assert root.auth.approle.list_roles(**at)["data"]["keys"] == ["api"]


@pytest.mark.parametrize(("field", "value", "shown", "unset"), [
    ("policies", "a,b", ["a", "b"], None), ("token-ttl", "5m", 300, 0), ("token-max-ttl", "1h", 3600, 0),
    ("token-num-uses", 3, 3, 0), ("secret-id-ttl", "1m", 60, 0), ("secret-id-num-uses", 4, 4, 0),
    ("bind-secret-id", False, False, True), ("period", "1h", 3600, 0),
    ("token-bound-cidrs", "10.0.0.0/8", ["10.0.0.0/8"], None), ("secret-id-bound-cidrs", "10.0.0.0/8", ["10.0.0.0/8"], None),
])
def test_role_fields_one_by_one(raw, approle, field, value, shown, unset):
    """Each field of a role has a path of its own."""
    raw.expect(204, "POST", f"auth/{approle}/role/r", {"secret_id_bound_cidrs": "127.0.0.0/8"})
    underscored = field.replace("-", "_")
    path = f"auth/{approle}/role/r/{field}"
    body = {"token_policies" if field == "policies" else "token_period" if field == "period" else underscored: value}
    raw.expect(204, "POST", path, body)
    data = raw.get(path).data
    key = next(iter(k for k in body if k in data))
    assert data[key] == shown
    raw.expect(204, "DELETE", path)
    after = (raw.get(path).data or {}).get(key, unset)
    assert after == unset or (unset is None and after == []), after


def test_role_id(root, raw, approle, role, client_of):
    generated = role()
    assert len(generated) == 36
    root.auth.approle.update_role_id("r", "chosen", mount_point=approle)
    assert root.auth.approle.read_role_id("r", mount_point=approle)["data"]["role_id"] == "chosen"
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    assert client_of().auth.approle.login("chosen", secret, mount_point=approle)["auth"]["client_token"]
    refused(exceptions.InvalidRequest, lambda: client_of().auth.approle.login(generated, secret, mount_point=approle))
    # One role id names one role.
    answer = raw.post(f"auth/{approle}/role/second", {"role_id": "chosen"})
    assert answer.status in (400, 500), answer.text
    assert "already in use" in answer.errors[0]


def test_login(root, approle, role, client_of):
    role_id = role(token_policies=["default", "app"], token_ttl="10m", token_max_ttl="20m")
    made = root.auth.approle.generate_secret_id("r", metadata={"host": "h1"}, mount_point=approle)["data"]
    assert made["secret_id"] and made["secret_id_accessor"]
    assert (made["secret_id_ttl"], made["secret_id_num_uses"]) == (0, 0)
    client = client_of()
    auth = client.auth.approle.login(role_id, made["secret_id"], mount_point=approle)["auth"]
    assert auth["token_policies"] == ["app", "default"] == auth["policies"]
    assert (auth["lease_duration"], auth["renewable"], auth["token_type"], auth["orphan"]) == (600, True, "service", True)
    assert auth["metadata"] == {"role_name": "r", "host": "h1"}
    data = client.auth.token.lookup_self()["data"]
    assert (data["path"], data["display_name"]) == (f"auth/{approle}/login", approle)
    assert data["meta"] == {"role_name": "r", "host": "h1"}
    assert client.auth.token.renew_self(increment="15m")["auth"]["lease_duration"] in (600, 900)
    again = client_of().auth.approle.login(role_id, made["secret_id"], mount_point=approle)["auth"]
    assert again["client_token"] != auth["client_token"]


def test_role_is_one_entity(identity, root, approle, role, client_of):
    role_id = role()
    entities = set()
    for _ in range(2):
        secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
        client = client_of()
        entities.add(client.auth.approle.login(role_id, secret, mount_point=approle)["auth"]["entity_id"])
        entities.add(client.auth.token.lookup_self()["data"]["entity_id"])
    assert len(entities) == 1 and "" not in entities


def test_wrong_credentials(root, raw, approle, role, product):
    role_id = role()
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]

    def login(**body):
        return raw.post(f"auth/{approle}/login", body, token="")

    for body in ({"role_id": role_id, "secret_id": "wrong"}, {"role_id": "wrong", "secret_id": secret},
                 {"role_id": role_id, "secret_id": secret[:-1] + ("0" if secret[-1] != "0" else "1")}):
        answer = login(**body)
        assert answer.status == 400 and answer.errors[0] in INVALID_SECRET, answer.text
    assert login(role_id=role_id).errors == ["missing secret_id"] or login(role_id=role_id).errors[0] in INVALID_SECRET
    missing = login(secret_id=secret)
    assert missing.errors == ["missing role_id"]
    assert missing.status == 400 or product == "openbao"


def test_secret_id_uses(root, approle, role, client_of):
    role_id = role(secret_id_num_uses=2)
    made = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]
    assert made["secret_id_num_uses"] == 2
    look = lambda: root.auth.approle.read_secret_id("r", made["secret_id"], mount_point=approle)  # noqa: E731
    assert look()["data"]["secret_id_num_uses"] == 2
    client_of().auth.approle.login(role_id, made["secret_id"], mount_point=approle)
    assert look()["data"]["secret_id_num_uses"] == 1
    client_of().auth.approle.login(role_id, made["secret_id"], mount_point=approle)
    refused(exceptions.InvalidRequest,
            lambda: client_of().auth.approle.login(role_id, made["secret_id"], mount_point=approle), *INVALID_SECRET)
    refused(exceptions.InvalidPath, lambda: root.auth.approle.list_secret_id_accessors("r", mount_point=approle))


def test_secret_id_ttl(root, approle, role, client_of, not_openbao):
    role_id = role(secret_id_ttl="1s")
    made = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]
    assert made["secret_id_ttl"] == 1
    client_of().auth.approle.login(role_id, made["secret_id"], mount_point=approle)
    eventually(lambda: refused(exceptions.InvalidRequest, lambda: client_of().auth.approle.login(
        role_id, made["secret_id"], mount_point=approle), *INVALID_SECRET))


def test_secret_id_own_limits(root, raw, approle, role):
    """A secret id may ask for less than the role gives, not for more."""
    role(secret_id_ttl="1h", secret_id_num_uses=10)
    made = raw.post(f"auth/{approle}/role/r/secret-id", {"ttl": "10m", "num_uses": 2}).data
    assert (made["secret_id_ttl"], made["secret_id_num_uses"]) == (600, 2)
    assert raw.post(f"auth/{approle}/role/r/secret-id", {"num_uses": 11}).status == 400
    more = raw.post(f"auth/{approle}/role/r/secret-id", {"ttl": "2h"})
    assert more.status == 400 or more.data["secret_id_ttl"] <= 3600


def test_secret_id_accessors_and_metadata(root, approle, role, client_of):
    role_id = role()
    at = {"mount_point": approle}
    made = [root.auth.approle.generate_secret_id("r", metadata={"n": str(n)}, **at)["data"] for n in range(3)]
    accessors = root.auth.approle.list_secret_id_accessors("r", **at)["data"]["keys"]
    assert sorted(accessors) == sorted(m["secret_id_accessor"] for m in made)
    for n, one in enumerate(made):
        data = root.auth.approle.read_secret_id_accessor("r", one["secret_id_accessor"], **at)["data"]
        assert data["metadata"] == {"n": str(n)} and data["secret_id_accessor"] == one["secret_id_accessor"]
        assert data["creation_time"] and data["last_updated_time"]
        assert root.auth.approle.read_secret_id("r", one["secret_id"], **at)["data"]["metadata"] == {"n": str(n)}
    root.auth.approle.destroy_secret_id("r", made[0]["secret_id"], **at)
    root.auth.approle.destroy_secret_id_accessor("r", made[1]["secret_id_accessor"], **at)
    for gone in made[:2]:
        refused(exceptions.InvalidRequest, lambda gone=gone: client_of().auth.approle.login(role_id, gone["secret_id"], **at),
                *INVALID_SECRET)
    assert root.auth.approle.list_secret_id_accessors("r", **at)["data"]["keys"] == [made[2]["secret_id_accessor"]]
    client_of().auth.approle.login(role_id, made[2]["secret_id"], **at)
    absent = client_of(root.token).auth.approle
    with pytest.raises((exceptions.InvalidPath, exceptions.InvalidRequest)):
        absent.read_secret_id_accessor("r", "nope", **at)


def test_custom_secret_id(root, approle, role, client_of):
    role_id = role()
    root.auth.approle.create_custom_secret_id("r", "my-own-secret", metadata={"a": "b"}, mount_point=approle)
    client_of().auth.approle.login(role_id, "my-own-secret", mount_point=approle)
    refused(exceptions.InvalidRequest, lambda: client_of().auth.approle.login(role_id, "MY-OWN-SECRET", mount_point=approle),
            *INVALID_SECRET)


def test_wrapped_secret_id(root, approle, role, client_of):
    role_id = role()
    wrapped = root.auth.approle.generate_secret_id("r", wrap_ttl="1m", mount_point=approle)
    assert not wrapped["data"]
    info = wrapped["wrap_info"]
    assert info["ttl"] == 60 and info["creation_path"] == f"auth/{approle}/role/r/secret-id"
    unwrapped = client_of(info["token"]).sys.unwrap()["data"]
    client_of().auth.approle.login(role_id, unwrapped["secret_id"], mount_point=approle)
    refused(exceptions.InvalidRequest, lambda: client_of(info["token"]).sys.unwrap(),
            "wrapping token is not valid or does not exist")


def test_bound_addresses(root, raw, approle, role):
    role_id = role(secret_id_bound_cidrs=["10.0.0.0/8"])
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    answer = raw.post(f"auth/{approle}/login", {"role_id": role_id, "secret_id": secret}, token="")
    assert answer.status in (400, 403, 500), answer.text
    # A secret id's own list must lie within the role's.
    assert raw.post(f"auth/{approle}/role/r/secret-id", {"cidr_list": "192.168.0.0/16"}).status in (400, 500)
    role(secret_id_bound_cidrs=["127.0.0.0/8"], token_bound_cidrs=["10.0.0.0/8"])
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    answer = raw.post(f"auth/{approle}/login", {"role_id": role_id, "secret_id": secret}, token="")
    if answer.status == 200:
        assert raw.get("auth/token/lookup-self", token=answer.json["auth"]["client_token"]).status == 403


def test_without_secret_id(root, raw, approle):
    """A role may do without secret ids when it is bound to addresses."""
    raw.expect(204, "POST", f"auth/{approle}/role/open", {"bind_secret_id": False, "secret_id_bound_cidrs": "127.0.0.1/32"})
    role_id = raw.get(f"auth/{approle}/role/open/role-id").data["role_id"]
    assert raw.post(f"auth/{approle}/login", {"role_id": role_id}, token="").status == 200
    assert raw.post(f"auth/{approle}/role/none", {"bind_secret_id": False}).status in (400, 500)


def test_batch_tokens(root, raw, approle, role):
    role_id = role(token_type="batch", token_ttl="5m")
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    auth = raw.post(f"auth/{approle}/login", {"role_id": role_id, "secret_id": secret}, token="").json["auth"]
    assert auth["client_token"].startswith(("hvb.", "b."))
    assert (auth["token_type"], auth["renewable"], auth["accessor"], auth["lease_duration"]) == ("batch", False, "", 300)
    assert raw.get("auth/token/lookup-self", token=auth["client_token"]).data["path"] == f"auth/{approle}/login"


def test_periodic_and_limited_tokens(root, approle, role, client_of):
    role_id = role(token_period="1h", token_num_uses=2)
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    client = client_of()
    auth = client.auth.approle.login(role_id, secret, mount_point=approle)["auth"]
    assert auth["lease_duration"] == 3600 and auth["num_uses"] == 2
    assert client.auth.token.lookup_self()["data"]["period"] == 3600
    client.auth.token.lookup_self()
    eventually(lambda: refused(exceptions.Forbidden, client.auth.token.lookup_self))


def test_role_deletion_ends_its_secret_ids(root, approle, role, client_of):
    role_id = role()
    secret = root.auth.approle.generate_secret_id("r", mount_point=approle)["data"]["secret_id"]
    root.auth.approle.delete_role("r", mount_point=approle)
    refused(exceptions.InvalidRequest, lambda: client_of().auth.approle.login(role_id, secret, mount_point=approle),
            *INVALID_SECRET)
    role()
    renewed = root.auth.approle.read_role_id("r", mount_point=approle)["data"]["role_id"]
    assert renewed != role_id
    refused(exceptions.InvalidRequest, lambda: client_of().auth.approle.login(renewed, secret, mount_point=approle),
            *INVALID_SECRET)


def test_tidy(raw, approle):
    assert raw.post(f"auth/{approle}/tidy/secret-id").status == 202
