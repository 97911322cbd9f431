"""Identity: entities, aliases and groups with hvac, and what follows for those who log in."""

import pytest
from conftest import refused
from hvac import exceptions

pytestmark = pytest.mark.usefixtures("identity")


@pytest.fixture
def people(root, raw, name):
    """The path and accessor of a userpass mount whose user `ann` may read nothing by herself."""
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p"})
    root.sys.create_or_update_policy(name, 'path "sys/mounts" { capabilities = ["read"] }')
    return name, raw.get("sys/auth").data[f"{name}/"]["accessor"]


def login(client_of, mount, user="ann"):
    client = client_of()
    return client, client.auth.userpass.login(user, "p", mount_point=mount)["auth"]


def test_entity(root, name):
    identity = root.secrets.identity
    made = identity.create_or_update_entity(name=name, policies=["default"], metadata={"team": "a"})["data"]
    read = identity.read_entity(entity_id=made["id"])["data"]
    assert (read["name"], read["policies"], read["metadata"], read["disabled"]) == (name, ["default"], {"team": "a"}, False)
    assert read["aliases"] == [] and read["namespace_id"] == "root"
    assert identity.read_entity_by_name(name=name.upper())["data"]["id"] == made["id"]
    assert made["id"] in identity.list_entities()["data"]["keys"]
    assert name in identity.list_entities_by_name()["data"]["keys"]
    assert identity.lookup_entity(name=name)["data"]["id"] == made["id"]
    identity.update_entity(entity_id=made["id"], metadata={"team": "b"})
    assert identity.read_entity(entity_id=made["id"])["data"]["metadata"] == {"team": "b"}
    identity.delete_entity_by_name(name=name)
    refused(exceptions.InvalidPath, lambda: identity.read_entity(entity_id=made["id"]))


def test_rights_follow_the_entity(root, people, client_of, name):
    mount, accessor = people
    identity = root.secrets.identity
    client, auth = login(client_of, mount)
    refused(exceptions.Forbidden, client.sys.list_mounted_secrets_engines)
    identity.update_entity(entity_id=auth["entity_id"], policies=[name])
    assert "identity/" in client.sys.list_mounted_secrets_engines()["data"]
    assert login(client_of, mount)[1]["identity_policies"] == [name]
    identity.update_entity(entity_id=auth["entity_id"], policies=[])
    group = identity.create_or_update_group(name=name, policies=[name], member_entity_ids=[auth["entity_id"]])["data"]
    assert client.sys.list_mounted_secrets_engines()["data"]
    assert identity.read_entity(entity_id=auth["entity_id"])["data"]["direct_group_ids"] == [group["id"]]
    identity.update_entity(entity_id=auth["entity_id"], disabled=True)
    refused(exceptions.Forbidden, client.auth.token.lookup_self)
    refused(exceptions.Forbidden, lambda: login(client_of, mount))
    identity.update_entity(entity_id=auth["entity_id"], disabled=False)
    assert client.auth.token.lookup_self()["data"]["entity_id"] == auth["entity_id"]
    alias = identity.read_entity(entity_id=auth["entity_id"])["data"]["aliases"][0]
    assert (alias["name"], alias["mount_accessor"]) == ("ann", accessor)
    assert identity.read_entity_alias(alias_id=alias["id"])["data"]["canonical_id"] == auth["entity_id"]
    found = identity.lookup_entity(alias_name="ANN", alias_mount_accessor=accessor)["data"]
    assert found["id"] == auth["entity_id"]


def test_merge(root, people, client_of):
    mount, accessor = people
    identity = root.secrets.identity
    _, auth = login(client_of, mount)
    other = identity.create_or_update_entity(name=f"{mount}-other")["data"]["id"]
    identity.merge_entities(from_entity_ids=[auth["entity_id"]], to_entity_id=other)
    assert login(client_of, mount)[1]["entity_id"] == other
    third = identity.create_or_update_entity(name=f"{mount}-third")["data"]["id"]
    identity.create_or_update_entity_alias(name="bob", canonical_id=third, mount_accessor=accessor)
    refused(exceptions.InvalidRequest,
            lambda: identity.merge_entities(from_entity_ids=[third], to_entity_id=other))


def test_everything_of_an_entity_ends(root, people, client_of, raw, product):
    if product != "strongroom":
        pytest.skip("an addition")
    mount, _ = people
    client, auth = login(client_of, mount)
    path = f"identity/entity/id/{auth['entity_id']}/revoke"
    assert raw.get(path).data["accessors"] == [auth["accessor"]]
    assert raw.post(path, {}).data["accessors"] == [auth["accessor"]]
    refused(exceptions.Forbidden, client.auth.token.lookup_self)
    assert login(client_of, mount)[1]["entity_id"] == auth["entity_id"]


def test_group_alias(root, people, name):
    _, accessor = people
    identity = root.secrets.identity
    group = identity.create_or_update_group(name=name, group_type="external", policies=[name])["data"]["id"]
    made = identity.create_or_update_group_alias(name="operators", mount_accessor=accessor, canonical_id=group)["data"]
    assert identity.read_group_alias(alias_id=made["id"])["data"]["name"] == "operators"
    assert identity.read_group(group_id=group)["data"]["alias"]["id"] == made["id"]
    assert made["id"] in identity.list_group_aliases()["data"]["keys"]
    identity.delete_group_alias(entity_id=made["id"])
    assert identity.read_group(group_id=group)["data"]["alias"] == {}
