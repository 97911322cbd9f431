"""The KV secrets engine, version 1."""

import pytest
from conftest import refused
from hvac import exceptions


def test_all_operations(root, kv1):
    kv, at = root.secrets.kv.v1, {"mount_point": kv1}
    refused(exceptions.InvalidPath, lambda: kv.read_secret("a", **at))
    refused(exceptions.InvalidPath, lambda: kv.list_secrets("", **at))
    assert kv.create_or_update_secret("a", {"x": "1", "n": 7, "deep": {"l": [1, None, True]}}, **at).status_code == 204
    kv.create_or_update_secret("dir/b", {"x": "2"}, **at)
    kv.create_or_update_secret("dir/sub/c", {"x": "3"}, **at)
    answer = kv.read_secret("a", **at)
    assert answer["data"] == {"x": "1", "n": 7, "deep": {"l": [1, None, True]}}
    assert (answer["lease_id"], answer["renewable"], answer["lease_duration"]) == ("", False, 768 * 3600)
    assert answer["request_id"] and answer["wrap_info"] is None and answer["auth"] is None
    assert kv.list_secrets("", **at)["data"]["keys"] == ["a", "dir/"]
    assert kv.list_secrets("dir", **at)["data"]["keys"] == ["b", "sub/"]
    # A write replaces the whole secret.
    kv.create_or_update_secret("a", {"y": "9"}, **at)
    assert kv.read_secret("a", **at)["data"] == {"y": "9"}
    assert kv.delete_secret("a", **at).status_code == 204
    refused(exceptions.InvalidPath, lambda: kv.read_secret("a", **at))
    assert kv.delete_secret("a", **at).status_code == 204
    assert kv.list_secrets("", **at)["data"]["keys"] == ["dir/"]


def test_ttl_field_is_the_lease_duration(root, kv1):
    """A "ttl" (or "lease") in the secret is returned as its lease duration."""
    root.secrets.kv.v1.create_or_update_secret("a", {"ttl": "1h", "x": "1"}, mount_point=kv1)
    answer = root.secrets.kv.v1.read_secret("a", mount_point=kv1)
    assert answer["lease_duration"] == 3600 and answer["data"] == {"ttl": "1h", "x": "1"}


def test_create_and_update_are_told_apart(root, kv1, with_policy):
    creator = with_policy(f'path "{kv1}/*" {{ capabilities = ["create"] }}')
    creator.secrets.kv.v1.create_or_update_secret("a", {"x": "1"}, method="POST", mount_point=kv1)
    refused(exceptions.Forbidden, lambda: creator.secrets.kv.v1.create_or_update_secret(
        "a", {"x": "2"}, method="PUT", mount_point=kv1))
    updater = with_policy(f'path "{kv1}/*" {{ capabilities = ["update"] }}')
    updater.secrets.kv.v1.create_or_update_secret("a", {"x": "2"}, method="POST", mount_point=kv1)
    refused(exceptions.Forbidden, lambda: updater.secrets.kv.v1.create_or_update_secret(
        "b", {"x": "2"}, method="POST", mount_point=kv1))


@pytest.mark.parametrize("path", ["with space", "ünïcode", "a%2Fb", "dot.ted", "UPPER", "q?mark", "plus+plus", "a:b@c"])
def test_unusual_paths(root, kv1, path):
    from urllib.parse import quote
    raw_path = quote(path, safe="")
    root.secrets.kv.v1.create_or_update_secret(raw_path, {"p": path}, method="POST", mount_point=kv1)
    assert root.secrets.kv.v1.read_secret(raw_path, mount_point=kv1)["data"] == {"p": path}
    assert len(root.secrets.kv.v1.list_secrets("", mount_point=kv1)["data"]["keys"]) == 1


def test_no_path_traversal(raw, kv1, with_policy):
    client = with_policy(f'path "{kv1}/open/*" {{ capabilities = ["read"] }}')
    raw.expect(204, "POST", f"{kv1}/closed", {"x": "1"})
    for path in (f"{kv1}/open/../closed", f"{kv1}/open/%2e%2e/closed", f"{kv1}/open/..%2fclosed"):
        answer = raw.get(path, token=client.token)
        assert answer.status in (301, 307, 400, 403, 404), (path, answer.text)
        assert answer.data is None


def test_writing_nothing_is_an_error(raw, kv1):
    answer = raw.post(f"{kv1}/a", {})
    assert answer.status == 400 and answer.errors == ["missing data fields"]
    assert raw.post(f"{kv1}/a").status == 400


def test_large_secret(root, kv1):
    value = {"blob": "x" * 400_000}
    root.secrets.kv.v1.create_or_update_secret("big", value, mount_point=kv1)
    assert root.secrets.kv.v1.read_secret("big", mount_point=kv1)["data"] == value
