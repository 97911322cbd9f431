"""The username and password auth method."""

import pytest
from conftest import refused
from hvac import exceptions

WRONG = "invalid username or password"


@pytest.fixture
def userpass(root, name):
    """The path of a fresh userpass mount with the user ann."""
    root.sys.enable_auth_method("userpass", path=name)
    root.auth.userpass.create_or_update_user("ann", "correct horse", mount_point=name, token_policies=["app"],
                                             token_ttl="10m", token_max_ttl="1h")
    return name


def test_login(userpass, client_of):
    client = client_of()
    auth = client.auth.userpass.login("ann", "correct horse", mount_point=userpass)["auth"]
    assert auth["policies"] == ["app", "default"] and auth["lease_duration"] == 600
    assert auth["metadata"] == {"username": "ann"}
    data = client.auth.token.lookup_self()["data"]
    assert (data["path"], data["display_name"]) == (f"auth/{userpass}/login/ann", f"{userpass}-ann")
    # User names are case-insensitive.
    again = client_of().auth.userpass.login("ANN", "correct horse", mount_point=userpass)["auth"]
    assert again["metadata"] == {"username": "ann"}


def test_user_is_one_entity(identity, userpass, client_of):
    entities = {client_of().auth.userpass.login(name, "correct horse", mount_point=userpass)["auth"]["entity_id"] for name in ("ann", "ANN")}
    assert len(entities) == 1 and "" not in entities


def test_wrong_credentials(userpass, client_of, raw):
    for user, password in (("ann", "wrong"), ("nobody", "wrong"), ("ann", "Correct horse")):
        refused(exceptions.InvalidRequest, lambda u=user, p=password: client_of().auth.userpass.login(u, p, mount_point=userpass),
                WRONG)
    answer = raw.post(f"auth/{userpass}/login/ann", {}, token="")
    assert answer.status in (400, 500) and answer.errors == ["missing password"]


def test_users(userpass, root, raw):
    at = {"mount_point": userpass}
    data = root.auth.userpass.read_user("ann", **at)["data"]
    assert data["token_policies"] == ["app"] and (data["token_ttl"], data["token_max_ttl"]) == (600, 3600)
    assert "password" not in data and "password_hash" not in data
    root.auth.userpass.create_or_update_user("bob", "b", **at)
    assert sorted(root.auth.userpass.list_user(**at)["data"]["keys"]) == ["ann", "bob"]
    root.auth.userpass.delete_user("bob", **at)
    refused(exceptions.InvalidPath, lambda: root.auth.userpass.read_user("bob", **at))
    refused(exceptions.InvalidRequest, lambda: root.auth.userpass.login("bob", "b", **at), WRONG)
    assert raw.post(f"auth/{userpass}/users/carl", {}).status in (400, 500)


def test_change_password_and_policies(userpass, root, raw, client_of):
    at = {"mount_point": userpass}
    root.auth.userpass.update_password_on_user("ann", "battery staple", **at)
    refused(exceptions.InvalidRequest, lambda: client_of().auth.userpass.login("ann", "correct horse", **at), WRONG)
    raw.expect(204, "POST", f"auth/{userpass}/users/ann/policies", {"token_policies": "x,y"})
    assert client_of().auth.userpass.login("ann", "battery staple", **at)["auth"]["policies"] == ["default", "x", "y"]
    # The rest of the user stayed as it was.
    assert root.auth.userpass.read_user("ann", **at)["data"]["token_ttl"] == 600
