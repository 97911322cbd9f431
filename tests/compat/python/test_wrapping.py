"""Response wrapping and the cubbyhole."""

from conftest import eventually, refused
from hvac import exceptions

GONE = "wrapping token is not valid or does not exist"


def wrapped(raw, method, path, body=None, ttl="60s", **more):
    answer = raw.request(method, path, body, headers={"X-Vault-Wrap-TTL": ttl}, **more)
    assert answer.status == 200, answer.text
    assert not answer.data and answer.json["auth"] is None
    return answer.json["wrap_info"]


def test_wrap_and_unwrap(root, raw, client_of):
    made = root.sys.wrap({"a": "b", "n": 1}, ttl=120)["wrap_info"]
    assert made["ttl"] == 120 and made["creation_path"] == "sys/wrapping/wrap"
    assert made["token"] and made["accessor"] and made["creation_time"]
    looked = raw.post("sys/wrapping/lookup", {"token": made["token"]}).data
    assert looked["creation_path"] == "sys/wrapping/wrap" and looked["creation_ttl"] == 120 and looked["creation_time"]
    # Looking does not use it up, and needs no other token.
    assert raw.post("sys/wrapping/lookup", {"token": made["token"]}, token="").status == 200
    assert root.sys.unwrap(made["token"])["data"] == {"a": "b", "n": 1}
    refused(exceptions.InvalidRequest, lambda: root.sys.unwrap(made["token"]), GONE)
    answer = raw.post("sys/wrapping/lookup", {"token": made["token"]})
    assert answer.status == 400 and answer.errors == [GONE]


def test_wrapping_token_unwraps_itself(root, client_of):
    token = root.sys.wrap({"a": "b"})["wrap_info"]["token"]
    assert client_of(token).sys.unwrap()["data"] == {"a": "b"}
    refused(exceptions.InvalidRequest, lambda: client_of(token).sys.unwrap(), GONE)


def test_wrapping_token_does_nothing_else(raw, root):
    token = root.sys.wrap({"a": "b"})["wrap_info"]["token"]
    for method, path in (("GET", "auth/token/lookup-self"), ("GET", "cubbyhole/response"), ("POST", "auth/token/create"),
                         ("LIST", "cubbyhole/")):
        answer = raw.request(method, path, {} if method == "POST" else None, token=token)
        if (method, path) != ("GET", "cubbyhole/response"):
            assert answer.status in (400, 403), (path, answer.text)


def test_rewrap(root, raw):
    first = root.sys.wrap({"a": "b"}, ttl=300)["wrap_info"]
    second = raw.post("sys/wrapping/rewrap", {"token": first["token"]}).json["wrap_info"]
    assert second["token"] != first["token"] and second["ttl"] == 300
    assert second["creation_path"] == "sys/wrapping/wrap"
    refused(exceptions.InvalidRequest, lambda: root.sys.unwrap(first["token"]), GONE)
    assert root.sys.unwrap(second["token"])["data"] == {"a": "b"}


def test_any_response_can_be_wrapped(root, raw, kv2, client_of):
    root.secrets.kv.v2.create_or_update_secret("a", {"x": "1"}, mount_point=kv2)
    info = wrapped(raw, "GET", f"{kv2}/data/a", ttl="5m")
    assert info["ttl"] == 300 and info["creation_path"] == f"{kv2}/data/a"
    inner = client_of(info["token"]).sys.unwrap()
    assert inner["data"]["data"] == {"x": "1"} and inner["data"]["metadata"]["version"] == 1

    made = root.auth.token.create(policies=["default"], wrap_ttl="60s")
    info = made["wrap_info"]
    assert made["auth"] is None and info["wrapped_accessor"]
    auth = client_of(info["token"]).sys.unwrap()["auth"]
    assert auth["accessor"] == info["wrapped_accessor"]
    assert client_of(auth["client_token"]).auth.token.lookup_self()["data"]["policies"] == ["default"]


def test_wrapping_token_expires(root, raw):
    info = raw.post("sys/wrapping/wrap", {"a": "b"}, headers={"X-Vault-Wrap-TTL": "1"}).json["wrap_info"]
    assert info["ttl"] == 1
    eventually(lambda: raw.post("sys/wrapping/lookup", {"token": info["token"]}).status == 400)
    refused(exceptions.InvalidRequest, lambda: root.sys.unwrap(info["token"]), GONE)


def test_revoked_by_accessor(root):
    info = root.sys.wrap({"a": "b"})["wrap_info"]
    root.auth.token.revoke_accessor(info["accessor"])
    refused(exceptions.InvalidRequest, lambda: root.sys.unwrap(info["token"]), GONE)


def test_bad_requests(raw):
    answer = raw.post("sys/wrapping/wrap", {"a": "b"})
    assert answer.status == 400 and answer.errors == ["endpoint requires response wrapping to be used"]
    for path in ("lookup", "unwrap", "rewrap"):
        answer = raw.post(f"sys/wrapping/{path}", {"token": "nope"})
        assert answer.status == 400 and answer.errors == [GONE], answer.text
    assert raw.get("sys/mounts", headers={"X-Vault-Wrap-TTL": "abc"}).status == 400
    assert raw.get("sys/mounts", headers={"X-Vault-Wrap-TTL": "-5s"}).status == 400
    # An ordinary token is no wrapping token, and survives the attempt.
    token = raw.post("auth/token/create", {"policies": ["default"]}).json["auth"]["client_token"]
    assert raw.post("sys/wrapping/unwrap", {"token": token}).status == 400
    assert raw.get("auth/token/lookup-self", token=token).status == 200


def test_wrap_ttl_bounds_in_policy(root, kv2, raw, with_policy):
    root.secrets.kv.v2.create_or_update_secret("a", {"x": "1"}, mount_point=kv2)
    client = with_policy(f'path "{kv2}/data/*" {{ capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "10m" }}')

    def read(headers):
        return raw.get(f"{kv2}/data/a", headers=headers, token=client.token).status

    assert read({}) == 403
    assert read({"X-Vault-Wrap-TTL": "30s"}) == 403
    assert read({"X-Vault-Wrap-TTL": "1h"}) == 403
    assert read({"X-Vault-Wrap-TTL": "5m"}) == 200


def test_cubbyhole(root, raw, client_of):
    mine = client_of(root.auth.token.create(policies=["default"])["auth"]["client_token"])
    other = client_of(root.auth.token.create(policies=["default"])["auth"]["client_token"])
    assert mine.read("cubbyhole/a") is None
    mine.write_data("cubbyhole/a", data={"x": "1"})
    mine.write_data("cubbyhole/dir/b", data={"x": "2"})
    assert mine.read("cubbyhole/a")["data"] == {"x": "1"}
    assert mine.list("cubbyhole/")["data"]["keys"] == ["a", "dir/"]
    # Nobody else sees it, not even root.
    assert other.read("cubbyhole/a") is None and root.read("cubbyhole/a") is None
    mine.write_data("cubbyhole/a", data={"y": "2"})
    assert mine.read("cubbyhole/a")["data"] == {"y": "2"}
    mine.delete("cubbyhole/a")
    assert mine.read("cubbyhole/a") is None
    answer = raw.post("cubbyhole/a", {}, token=mine.token)
    assert answer.status in (400, 500) and "missing data fields" in answer.errors[0]


def test_cubbyhole_ends_with_its_token(root, name, client_of):
    first = root.auth.token.create(id=name, policies=["default"])["auth"]["client_token"]
    client_of(first).write_data("cubbyhole/a", data={"x": "1"})
    root.auth.token.revoke(first)
    again = root.auth.token.create(id=name, policies=["default"])["auth"]["client_token"]
    assert client_of(again).read("cubbyhole/a") is None


def test_batch_tokens_have_no_cubbyhole(root, raw):
    batch = root.auth.token.create(type="batch", policies=["default"])["auth"]["client_token"]
    answer = raw.post("cubbyhole/a", {"x": "1"}, token=batch)
    assert answer.status in (400, 403, 500)
    assert "cubbyhole operations are only supported by" in answer.errors[0]
