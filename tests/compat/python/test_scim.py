"""SCIM, with scim2-client and every check of scim2-tester: discovery, each attribute created, replaced, patched and queried."""

import httpx2
import pytest
from conftest import hvac_client
from scim2_client.errors import SCIMClientException, SCIMException
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import Error
from scim2_tester import Status, check_server

pytestmark = pytest.mark.usefixtures("identity")

POLICY = 'path "identity/scim/v2/*" { capabilities = ["create", "read", "update", "patch", "delete"] }'


@pytest.fixture
def connection(raw, vault, name):
    """HTTP as an identity provider speaks it, with a token of the client `name`, whose users log in with userpass."""
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    raw.expect(204, "PUT", f"sys/policies/acl/{name}", {"policy": POLICY})
    raw.expect(204, "POST", f"auth/{name}/users/provider", {"password": "p", "token_policies": name})
    auth = hvac_client(vault, "").auth.userpass.login("provider", "p", mount_point=name)["auth"]
    accessor = raw.get(f"sys/auth/{name}").data["accessor"]
    client = {"access_grant_principal": auth["entity_id"], "alias_mount_accessor": accessor}
    raw.expect(204, "POST", f"identity/scim/client/{name}", client)
    with httpx2.Client(
        base_url=f"{vault.address}/v1/identity/scim/v2",
        headers={"Authorization": f"Bearer {auth['client_token']}"},
        verify=str(vault.ca_file) if vault.ca_file else True,
    ) as http:
        yield http


def test_a_conformance_checker_finds_nothing(connection):
    results = check_server(SyncSCIMClient(connection))
    failed = [result for result in results if result.status not in (Status.SUCCESS, Status.SKIPPED)]
    assert not failed, "\n".join(f"{result.title}: {result.reason}" for result in failed)
    assert sum(result.status == Status.SUCCESS for result in results) > 100


def test_a_user_logs_in_until_deactivated(connection, raw, vault, name):
    scim = SyncSCIMClient(connection)
    scim.discover()
    user = scim.get_resource_model("User")
    made = scim.create(user(user_name="ann", active=True, display_name="Ann"))
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p"})
    auth = hvac_client(vault, "").auth.userpass.login("ann", "p", mount_point=name)["auth"]
    assert auth["entity_id"] == made.id
    made.active = False
    assert scim.replace(made).active is False
    assert vault.http(auth["client_token"]).get("auth/token/lookup-self").status == 403
    taken = scim.create(user(user_name="ANN", active=True), raise_scim_errors=False)
    assert isinstance(taken, Error) and (taken.status, taken.scim_type) == (409, "uniqueness")
    scim.delete(user, made.id)
    with pytest.raises((SCIMClientException, SCIMException)):
        scim.query(user, made.id, raise_scim_errors=True)


@pytest.mark.parametrize("kind", ["application/scim+json", "application/json", "application/scim+json; charset=utf-8"])
def test_bodies_are_of_the_protocols_types(connection, name, kind):
    user = connection.post("/Users", json={"userName": name}, headers={"Content-Type": kind})
    assert (user.status_code, user.headers["Content-Type"]) == (201, "application/scim+json")
    assert user.headers["Location"] == user.json()["meta"]["location"] == f"{connection.base_url}Users/{user.json()['id']}"
    body = {"Operations": [{"op": "Replace", "path": "active", "value": "False"}]}
    patched = connection.patch(f"/Users/{user.json()['id']}", json=body, headers={"Content-Type": kind})
    assert (patched.status_code, patched.json()["active"]) == (200, False)


def test_another_type_is_refused(connection, name):
    refused = connection.patch("/Users/x", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (refused.status_code, refused.json()["errors"]) == (415, ["PATCH requires Content-Type of application/scim+json"])


def test_requests_are_on_record(connection, vault, name):
    from conftest import audit_records

    made = connection.post("/Users", json={"userName": f"{name}-recorded", "externalId": "hush-hush"})
    path = f"identity/scim/v2/Users/{made.json()['id']}"
    connection.patch(f"/Users/{made.json()['id']}", json={"Operations": [{"op": "remove", "path": "externalId"}]},
                     headers={"Content-Type": "application/scim+json"})
    records = audit_records(vault, path=path, operation="patch")
    assert [record["type"] for record in records] == ["request", "response"]
    assert records[0]["auth"]["entity_id"] and "Operations" in records[0]["request"]["data"]
    assert "hush-hush" not in vault.audit_file.read_text()
