"""ACL policies: storing them, and what they let a token do."""

import pytest
from conftest import refused
from hvac import exceptions

READ = 'path "secret/*" { capabilities = ["read"] }'


def test_crud(root, raw, name):
    root.sys.create_or_update_policy(name, READ)
    assert root.sys.read_policy(name)["data"]["rules"] == READ
    acl = raw.get(f"sys/policies/acl/{name}").data
    assert (acl["name"], acl["policy"]) == (name, READ)
    assert name in root.sys.list_policies()["data"]["policies"]
    assert {"root", "default", name} <= set(raw.list("sys/policies/acl").data["keys"])
    assert {"root", "default", name} <= set(raw.get("sys/policies/acl?list=true").data["keys"])
    replaced = 'path "other" { capabilities = ["list"] }'
    root.sys.create_or_update_policy(name, replaced)
    assert root.sys.read_policy(name)["data"]["rules"] == replaced
    assert root.sys.delete_policy(name).status_code == 204
    refused(exceptions.InvalidPath, lambda: root.sys.read_policy(name))
    assert root.sys.delete_policy(name).status_code == 204


def test_names_are_lower_case(root, raw, name):
    # 200 where the server warns of the change, 204 where it does not.
    assert raw.put(f"sys/policies/acl/{name.upper()}", {"policy": READ}).status in (200, 204)
    assert raw.get(f"sys/policies/acl/{name}").data["policy"] == READ


def test_builtin_policies_are_protected(root):
    refused(exceptions.InvalidRequest, lambda: root.sys.delete_policy("root"), 'cannot delete "root" policy')
    refused(exceptions.InvalidRequest, lambda: root.sys.delete_policy("default"), "cannot delete default policy")
    refused(exceptions.InvalidRequest, lambda: root.sys.create_or_update_policy("root", READ), 'cannot update "root" policy')
    assert "auth/token/lookup-self" in root.sys.read_policy("default")["data"]["rules"]


@pytest.mark.parametrize(("text", "part"), [
    ('path "x" { capabilities = ["nope"] }', 'invalid capability'),
    ('path "x" {', "failed to parse policy"),
    ('pathh "x" {}', "failed to parse policy"),
    ('path "x" { capabilities = ["read"] nope = 1 }', "failed to parse policy"),
    ("", "'policy' parameter not supplied or empty"),
])
def test_bad_policies_are_refused(raw, name, text, part):
    answer = raw.put(f"sys/policies/acl/{name}", {"policy": text})
    assert answer.status == 400
    assert part in answer.errors[0], answer.text
    assert raw.get(f"sys/policies/acl/{name}").status == 404


def test_least_privilege(kv1, root, with_policy):
    root.secrets.kv.v1.create_or_update_secret("app/a", {"v": "1"}, mount_point=kv1)
    root.secrets.kv.v1.create_or_update_secret("other", {"v": "2"}, mount_point=kv1)
    client = with_policy(f'''
        path "{kv1}/app/*" {{ capabilities = ["read", "create"] }}
        path "{kv1}/app/denied" {{ capabilities = ["deny"] }}
        path "{kv1}/+/mid/leaf" {{ capabilities = ["read"] }}
    ''')
    kv = client.secrets.kv.v1
    assert kv.read_secret("app/a", mount_point=kv1)["data"] == {"v": "1"}
    kv.create_or_update_secret("app/new", {"v": "3"}, mount_point=kv1)
    for call in (
        lambda: kv.create_or_update_secret("app/a", {"v": "4"}, mount_point=kv1),
        lambda: kv.delete_secret("app/a", mount_point=kv1),
        lambda: kv.list_secrets("app", mount_point=kv1),
        lambda: kv.read_secret("other", mount_point=kv1),
        lambda: kv.read_secret("app/denied", mount_point=kv1),
        lambda: kv.read_secret("x/mid/leaf/deeper", mount_point=kv1),
        lambda: client.sys.list_mounted_secrets_engines(),
        lambda: client.auth.token.lookup_self(),
    ):
        error = refused(exceptions.Forbidden, call)
        assert "permission denied" in error.errors[0]
    refused(exceptions.InvalidPath, lambda: kv.read_secret("x/mid/leaf", mount_point=kv1))


def test_parameters_constrain_writes(kv1, with_policy):
    client = with_policy(f'''
        path "{kv1}/allowed" {{ capabilities = ["create", "update"] allowed_parameters = {{ "a" = ["x", "y*"], "b" = [] }} }}
        path "{kv1}/denied" {{ capabilities = ["create", "update"] denied_parameters = {{ "secret" = [] }} }}
        path "{kv1}/required" {{ capabilities = ["create", "update"] required_parameters = ["owner"] }}
    ''')

    def write(path, **fields):
        return client.secrets.kv.v1.create_or_update_secret(path, fields, method="POST", mount_point=kv1)

    write("allowed", a="x")
    write("allowed", a="yes", b="anything")
    refused(exceptions.Forbidden, lambda: write("allowed", a="z"))
    refused(exceptions.Forbidden, lambda: write("allowed", c="1"))
    write("denied", other="1")
    refused(exceptions.Forbidden, lambda: write("denied", secret="1"))
    write("required", owner="me", more="1")
    refused(exceptions.Forbidden, lambda: write("required", more="1"))


def test_sudo_paths_need_sudo(with_policy):
    client = with_policy('path "auth/token/accessors" { capabilities = ["list"] } '
                         'path "auth/token/accessors/" { capabilities = ["list"] }')
    refused(exceptions.Forbidden, client.auth.token.list_accessors)


def test_capabilities(root, raw, kv1, with_policy):
    client = with_policy(f'''
        path "{kv1}/a" {{ capabilities = ["read", "update", "list"] }}
        path "{kv1}/d" {{ capabilities = ["deny", "read"] }}
        path "sys/capabilities-self" {{ capabilities = ["update"] }}
    ''')
    accessor = root.auth.token.lookup(client.token)["data"]["accessor"]
    expected = ["list", "read", "update"]
    assert sorted(client.sys.get_capabilities([f"{kv1}/a"])["data"]["capabilities"]) == expected
    assert sorted(root.sys.get_capabilities([f"{kv1}/a"], token=client.token)["data"][f"{kv1}/a"]) == expected
    assert sorted(root.sys.get_capabilities([f"{kv1}/a"], accessor=accessor)["data"][f"{kv1}/a"]) == expected
    several = raw.post("sys/capabilities", {"token": client.token, "paths": [f"{kv1}/a", f"{kv1}/d", "nope"]}).data
    assert sorted(several[f"{kv1}/a"]) == expected
    assert several[f"{kv1}/d"] == ["deny"] and several["nope"] == ["deny"]
    assert root.sys.get_capabilities(["anything"])["data"]["capabilities"] == ["root"]
    # Vault also lists the capabilities beside "data", for clients from before it had one.
    assert sorted(raw.post("sys/capabilities", {"token": client.token, "path": f"{kv1}/a"}).json["capabilities"]) == expected


def test_policy_changes_apply_to_tokens_at_once(kv1, root, name, with_policy):
    client = with_policy(f'path "{kv1}/a" {{ capabilities = ["read"] }}')
    root.secrets.kv.v1.create_or_update_secret("a", {"v": "1"}, mount_point=kv1)
    assert client.secrets.kv.v1.read_secret("a", mount_point=kv1)["data"] == {"v": "1"}
    root.sys.create_or_update_policy(name, 'path "nothing" { capabilities = ["read"] }')
    refused(exceptions.Forbidden, lambda: client.secrets.kv.v1.read_secret("a", mount_point=kv1))
    root.sys.delete_policy(name)
    refused(exceptions.Forbidden, lambda: client.secrets.kv.v1.read_secret("a", mount_point=kv1))


def test_templated_policy(kv1, root, raw, name, client_of, identity):
    """{{identity.entity.aliases…}} and the like resolve to the token's entity."""
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    accessor = raw.get("sys/auth").data[f"{name}/"]["accessor"]
    root.sys.create_or_update_policy(
        name, f'path "{kv1}/{{{{identity.entity.aliases.{accessor}.name}}}}/*" {{ capabilities = ["create", "update", "read"] }}')
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p", "token_policies": name})
    client = client_of()
    client.auth.userpass.login("ann", "p", mount_point=name)
    client.secrets.kv.v1.create_or_update_secret("ann/x", {"v": "1"}, mount_point=kv1)
    refused(exceptions.Forbidden, lambda: client.secrets.kv.v1.read_secret("bob/x", mount_point=kv1))
