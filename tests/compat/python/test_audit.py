"""The file audit device: what it says, what it hashes, what happens without it."""

import errno
import json
import subprocess

import pytest
from conftest import audit_records, refused
from hvac import exceptions


def test_devices(root, raw, vault, name):
    path = vault.directory / f"{name}.log"
    root.sys.enable_audit_device("file", path=name, description="second", options={"file_path": str(path)})
    listed = root.sys.list_enabled_audit_devices()["data"]
    assert listed["file/"]["type"] == "file" and listed["file/"]["options"]["file_path"] == str(vault.audit_file)
    assert (listed[f"{name}/"]["description"], listed[f"{name}/"]["path"]) == ("second", f"{name}/")
    raw.get("sys/mounts")
    assert path.stat().st_mode & 0o777 == 0o600
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(e["request"]["path"] == "sys/mounts" for e in entries)
    refused(exceptions.InvalidRequest, lambda: root.sys.enable_audit_device("file", path=name, options={"file_path": str(path)}))
    assert root.sys.disable_audit_device(name).status_code == 204
    assert f"{name}/" not in root.sys.list_enabled_audit_devices()["data"]
    before = path.stat().st_size
    raw.get("sys/mounts")
    assert path.stat().st_size == before


@pytest.mark.parametrize("options", [{}, {"file_path": "/proc/nowhere/audit.log"}])
def test_device_that_cannot_work_is_refused(raw, name, options):
    assert raw.put(f"sys/audit/{name}", {"type": "file", "options": options}).status == 400
    assert raw.put(f"sys/audit/{name}", {"type": "nosuch", "options": options}).status == 400
    assert f"{name}/" not in raw.get("sys/audit").data


def test_request_and_response_records(root, raw, vault, kv2):
    answer = raw.post(f"{kv2}/data/seen", {"data": {"password": "hunter2-is-secret"}})
    request, = audit_records(vault, type="request", path=f"{kv2}/data/seen")
    response, = audit_records(vault, type="response", path=f"{kv2}/data/seen")
    assert request["time"] and request["request"]["id"] == answer.json["request_id"] == response["request"]["id"]
    assert request["request"]["operation"] in ("create", "update")
    assert request["request"]["remote_address"] == "127.0.0.1" and request["request"]["remote_port"]
    assert (request["request"]["mount_type"], request["request"]["mount_point"]) == ("kv", f"{kv2}/")
    assert request["request"]["namespace"] == {"id": "root"}
    auth = request["auth"]
    assert auth["policies"] == ["root"] and auth["token_type"] == "service" and auth["display_name"] == "root"
    assert auth["policy_results"]["allowed"] is True
    for hashed in (auth["client_token"], auth["accessor"], request["request"]["client_token"],
                   request["request"]["client_token_accessor"], request["request"]["data"]["data"]["password"]):
        assert hashed.startswith("hmac-sha256:") and len(hashed) == len("hmac-sha256:") + 64
    # Numbers are told as they are, text is hashed, key names stay.
    assert response["response"]["data"]["version"] == 1
    assert response["response"]["data"]["created_time"].startswith("hmac-sha256:") or response["response"]["data"]["created_time"]
    text = vault.audit_file.read_text()
    assert "hunter2-is-secret" not in text and vault.root_token not in text


def test_hashes_are_what_audit_hash_says(root, vault, kv1, client_of):
    root.secrets.kv.v1.create_or_update_secret("h", {"password": "find me by hash"}, mount_point=kv1)
    expected = root.sys.calculate_hash("file", "find me by hash")["data"]["hash"]
    record, = audit_records(vault, type="request", operation="create", path=f"{kv1}/h")
    assert record["request"]["data"]["password"] == expected
    assert record["auth"]["client_token"] == root.sys.calculate_hash("file", vault.root_token)["data"]["hash"]
    root.secrets.kv.v1.read_secret("h", mount_point=kv1)
    response = audit_records(vault, type="response", path=f"{kv1}/h")[-1]
    assert response["response"]["data"]["password"] == expected
    # Each device has a salt of its own.
    other = vault.directory / f"{kv1}-other.log"
    root.sys.enable_audit_device("file", path=f"{kv1}-other", options={"file_path": str(other)})
    assert root.sys.calculate_hash(f"{kv1}-other", "find me by hash")["data"]["hash"] != expected
    root.sys.disable_audit_device(f"{kv1}-other")


def test_issued_tokens_are_hashed(root, vault, name):
    made = root.auth.token.create(policies=["default"], display_name=name)["auth"]
    expected = root.sys.calculate_hash("file", made["client_token"])["data"]["hash"]
    records = audit_records(vault, type="response", path="auth/token/create")
    assert expected in [r["response"]["auth"]["client_token"] for r in records if "auth" in r.get("response", {})]
    assert made["client_token"] not in vault.audit_file.read_text()


def test_failures_are_recorded(raw, root, vault, kv1, with_policy):
    client = with_policy('path "nothing" { capabilities = ["read"] }')
    assert raw.get(f"{kv1}/forbidden", token=client.token).status == 403
    record = audit_records(vault, type="response", path=f"{kv1}/forbidden")[-1]
    assert "permission denied" in record["error"]
    assert record["auth"]["policy_results"]["allowed"] is False
    assert raw.get(f"{kv1}/bad-token", token="hvs.nonsense").status == 403
    assert audit_records(vault, path=f"{kv1}/bad-token")


def test_unhashed_keys_and_headers(root, raw, vault, name):
    root.sys.enable_secrets_engine("kv", path=name, options={"version": "1"},
                                   config={"audit_non_hmac_request_keys": ["user"], "audit_non_hmac_response_keys": ["user"]})
    raw.expect(204, "POST", "sys/config/auditing/request-headers/x-plain-header", {"hmac": False})
    raw.expect(204, "POST", "sys/config/auditing/request-headers/x-hashed-header", {"hmac": True})
    raw.expect(204, "POST", f"{name}/a", {"user": "ann-in-clear", "password": "not-in-clear"},
               headers={"X-Plain-Header": "plain-value", "X-Hashed-Header": "hashed-value", "X-Unlisted": "unlisted"})
    record, = audit_records(vault, type="request", path=f"{name}/a")
    assert record["request"]["data"]["user"] == "ann-in-clear"
    assert record["request"]["data"]["password"].startswith("hmac-sha256:")
    headers = record["request"]["headers"]
    assert headers["x-plain-header"] == ["plain-value"]
    assert headers["x-hashed-header"][0].startswith("hmac-sha256:") and "x-unlisted" not in headers
    raw.expect(200, "GET", f"{name}/a")
    assert audit_records(vault, type="response", path=f"{name}/a")[-1]["response"]["data"]["user"] == "ann-in-clear"
    assert raw.get("sys/config/auditing/request-headers/x-plain-header").data["x-plain-header"] == {"hmac": False}
    raw.expect(204, "DELETE", "sys/config/auditing/request-headers/x-plain-header")


def test_raw_device(root, raw, vault, kv1, name):
    """log_raw hashes nothing: for tests, as Vault says."""
    path = vault.directory / f"{name}-raw.log"
    root.sys.enable_audit_device("file", path=name, options={"file_path": str(path), "log_raw": "true"})
    root.secrets.kv.v1.create_or_update_secret("r", {"password": "shown-in-raw"}, mount_point=kv1)
    root.sys.disable_audit_device(name)
    assert "shown-in-raw" in path.read_text()


def test_nothing_is_answered_unaudited(fresh):
    """With the disk of its only device full, the server refuses before a handler runs, and recovers by itself."""
    fresh.ready()
    disk = fresh.directory / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a small disk here")
    try:
        connection = fresh.http()
        connection.expect(204, "PUT", "sys/audit/only", {"type": "file", "options": {"file_path": str(disk / "audit.log")}})
        connection.expect(204, "PUT", "sys/policies/acl/before", {"policy": 'path "a" {}'})
        fill(disk / "filler")
        # What room is left in the audit file's last page is used up by small requests.
        for _ in range(20):
            connection.get("auth/token/lookup-self")
        for method, path, body in (("GET", "sys/mounts", None), ("PUT", "sys/policies/acl/after", {"policy": 'path "a" {}'})):
            answer = connection.request(method, path, body)
            assert answer.status == 500 and answer.data is None, answer.text
        (disk / "filler").unlink()
        assert connection.list("sys/policies/acl").data["keys"] == ["before", "default", "root"]
        fresh.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path):
    """Writes until the disk takes no more."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError as error:
            assert error.errno == errno.ENOSPC
