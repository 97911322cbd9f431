"""The KV secrets engine, version 2."""

import pytest
from conftest import eventually, refused
from hvac import exceptions

CAS_MISMATCH = "check-and-set parameter did not match the current version"
CAS_REQUIRED = "check-and-set parameter required for this call"


def test_versions(root, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    refused(exceptions.InvalidPath, lambda: kv.read_secret_version("a", raise_on_deleted_version=True, **at))
    written = kv.create_or_update_secret("a", {"x": "1"}, **at)["data"]
    assert written["version"] == 1 and written["created_time"]
    assert (written["deletion_time"], written["destroyed"], written["custom_metadata"]) == ("", False, None)
    assert kv.create_or_update_secret("a", {"x": "2", "deep": {"n": [1, 2.5, None, False]}}, **at)["data"]["version"] == 2
    latest = kv.read_secret_version("a", raise_on_deleted_version=True, **at)["data"]
    assert latest["data"] == {"x": "2", "deep": {"n": [1, 2.5, None, False]}} and latest["metadata"]["version"] == 2
    first = kv.read_secret_version("a", version=1, raise_on_deleted_version=True, **at)["data"]
    assert first["data"] == {"x": "1"} and first["metadata"] == written
    refused(exceptions.InvalidPath, lambda: kv.read_secret_version("a", version=9, raise_on_deleted_version=True, **at))


def test_check_and_set(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("a", {"x": "1"}, cas=1, **at), CAS_MISMATCH)
    kv.create_or_update_secret("a", {"x": "1"}, cas=0, **at)
    refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("a", {"x": "2"}, cas=0, **at), CAS_MISMATCH)
    assert kv.create_or_update_secret("a", {"x": "2"}, cas=1, **at)["data"]["version"] == 2
    assert kv.read_secret_version("a", raise_on_deleted_version=True, **at)["data"]["data"] == {"x": "2"}
    kv.update_metadata("a", cas_required=True, **at)
    refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("a", {"x": "3"}, **at), CAS_REQUIRED)
    kv.create_or_update_secret("a", {"x": "3"}, cas=2, **at)
    kv.configure(cas_required=True, **at)
    refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("b", {"x": "1"}, **at), CAS_REQUIRED)
    kv.create_or_update_secret("b", {"x": "1"}, cas=0, **at)


def test_delete_undelete_destroy(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    for n in (1, 2, 3, 4):
        kv.create_or_update_secret("a", {"n": n}, **at)
    assert kv.delete_latest_version_of_secret("a", **at).status_code == 204
    deleted = raw.get(f"{kv2}/data/a")
    # A deleted version is 404, with its metadata beside an empty "data".
    assert deleted.status == 404
    assert deleted.data["data"] is None
    assert deleted.data["metadata"]["deletion_time"] and deleted.data["metadata"]["destroyed"] is False
    kv.delete_secret_versions("a", [1, 2], **at)
    assert raw.get(f"{kv2}/data/a?version=1").status == 404
    assert raw.get(f"{kv2}/data/a?version=3").data["data"] == {"n": 3}
    kv.undelete_secret_versions("a", [1, 4], **at)
    assert raw.get(f"{kv2}/data/a?version=1").data["data"] == {"n": 1}
    assert raw.get(f"{kv2}/data/a").data["data"] == {"n": 4}
    assert kv.destroy_secret_versions("a", [1], **at).status_code == 204
    destroyed = raw.get(f"{kv2}/data/a?version=1")
    assert destroyed.status == 404 and destroyed.data["data"] is None and destroyed.data["metadata"]["destroyed"] is True
    kv.undelete_secret_versions("a", [1], **at)
    assert raw.get(f"{kv2}/data/a?version=1").status == 404
    versions = kv.read_secret_metadata("a", **at)["data"]["versions"]
    assert {n: (bool(v["deletion_time"]), v["destroyed"]) for n, v in versions.items()} == {
        "1": (False, True), "2": (True, False), "3": (False, False), "4": (False, False)}
    assert kv.delete_metadata_and_all_versions("a", **at).status_code == 204
    refused(exceptions.InvalidPath, lambda: kv.read_secret_metadata("a", **at))
    assert raw.get(f"{kv2}/data/a?version=3").status == 404
    # Written again it starts at version 1.
    assert kv.create_or_update_secret("a", {"n": 0}, **at)["data"]["version"] == 1


def test_empty_version_lists(raw, kv2):
    raw.expect(200, "POST", f"{kv2}/data/a", {"data": {"x": "1"}})
    for operation in ("delete", "undelete", "destroy"):
        for body in ({}, {"versions": []}):
            answer = raw.post(f"{kv2}/{operation}/a", body)
            assert answer.status == 400 and answer.errors[0].lower() == "no version number provided", (operation, answer.text)
    # Versions that do not exist are passed over.
    assert raw.post(f"{kv2}/destroy/a", {"versions": [5]}).status == 204
    assert raw.post(f"{kv2}/delete/a", {"versions": "1"}).status == 204
    assert raw.get(f"{kv2}/data/a").status == 404


def test_max_versions(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    kv.update_metadata("a", max_versions=2, **at)
    for n in range(5):
        kv.create_or_update_secret("a", {"n": n}, **at)
    data = kv.read_secret_metadata("a", **at)["data"]
    assert (data["current_version"], data["oldest_version"], data["max_versions"]) == (5, 4, 2)
    assert sorted(data["versions"]) == ["4", "5"]
    assert raw.get(f"{kv2}/data/a?version=3").status == 404
    # The engine's own default is ten.
    for n in range(12):
        kv.create_or_update_secret("b", {"n": n}, **at)
    assert kv.read_secret_metadata("b", **at)["data"]["oldest_version"] == 3
    kv.configure(max_versions=3, **at)
    kv.create_or_update_secret("b", {"n": 12}, **at)
    assert kv.read_secret_metadata("b", **at)["data"]["oldest_version"] == 11


def test_metadata(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    # Metadata may come before the first version.
    kv.update_metadata("a", max_versions=5, cas_required=False, delete_version_after="3h", custom_metadata={"owner": "ops"}, **at)
    data = kv.read_secret_metadata("a", **at)["data"]
    assert (data["current_version"], data["max_versions"], data["delete_version_after"]) == (0, 5, "3h0m0s")
    assert data["custom_metadata"] == {"owner": "ops"} and data["versions"] == {}
    written = kv.create_or_update_secret("a", {"x": "1"}, **at)["data"]
    assert written["custom_metadata"] == {"owner": "ops"} and written["deletion_time"]
    assert kv.read_secret_version("a", raise_on_deleted_version=True, **at)["data"]["metadata"]["custom_metadata"] == {"owner": "ops"}
    data = kv.read_secret_metadata("a", **at)["data"]
    assert data["created_time"] and data["updated_time"]
    assert data["versions"]["1"]["deletion_time"] == written["deletion_time"]
    raw.expect(204, "POST", f"{kv2}/metadata/a", {"custom_metadata": {"team": "b"}})
    assert kv.read_secret_metadata("a", **at)["data"]["custom_metadata"] == {"team": "b"}
    merge = {"Content-Type": "application/merge-patch+json"}
    raw.expect(204, "PATCH", f"{kv2}/metadata/a", {"custom_metadata": {"owner": "dev", "team": None}, "max_versions": 4}, headers=merge)
    data = kv.read_secret_metadata("a", **at)["data"]
    assert data["custom_metadata"] == {"owner": "dev"} and data["max_versions"] == 4
    assert data["delete_version_after"] == "3h0m0s"


@pytest.mark.parametrize("bad", [
    {f"k{n}": "v" for n in range(65)}, {"k" * 129: "v"}, {"k": "v" * 513}, {"": "v"}, {"k": ""}, {"k": "\u0007"},
])
def test_custom_metadata_limits(raw, kv2, bad):
    answer = raw.post(f"{kv2}/metadata/a", {"custom_metadata": bad})
    assert answer.status == 400 and answer.errors, answer.text
    assert raw.get(f"{kv2}/metadata/a").status == 404


def test_delete_version_after(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    kv.update_metadata("a", delete_version_after="1s", **at)
    kv.create_or_update_secret("a", {"x": "1"}, **at)
    assert raw.get(f"{kv2}/data/a").status == 200
    eventually(lambda: raw.get(f"{kv2}/data/a").status == 404)


def test_config(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    unset = {"cas_required": False, "delete_version_after": "0s", "max_versions": 0}
    assert unset.items() <= kv.read_configuration(**at)["data"].items()
    kv.configure(max_versions=4, cas_required=True, delete_version_after="2h", **at)
    changed = {"cas_required": True, "delete_version_after": "2h0m0s", "max_versions": 4}
    assert changed.items() <= kv.read_configuration(**at)["data"].items()


def test_list(root, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    refused(exceptions.InvalidPath, lambda: kv.list_secrets("", **at))
    for path in ("a", "dir/b", "dir/sub/c", "dir", "z"):
        kv.create_or_update_secret(path, {"x": "1"}, **at)
    assert kv.list_secrets("", **at)["data"]["keys"] == ["a", "dir", "dir/", "z"]
    assert kv.list_secrets("dir", **at)["data"]["keys"] == ["b", "sub/"]
    # A deleted secret is still listed; one whose metadata is gone is not.
    kv.delete_latest_version_of_secret("a", **at)
    assert "a" in kv.list_secrets("", **at)["data"]["keys"]
    kv.delete_metadata_and_all_versions("a", **at)
    assert "a" not in kv.list_secrets("", **at)["data"]["keys"]


def test_patch(root, raw, kv2):
    kv, at = root.secrets.kv.v2, {"mount_point": kv2}
    merge = {"Content-Type": "application/merge-patch+json"}
    assert raw.request("PATCH", f"{kv2}/data/a", {"data": {"x": "1"}}, headers=merge).status == 404
    kv.create_or_update_secret("a", {"x": "1", "deep": {"keep": "k", "drop": "d"}}, **at)
    raw.expect(200, "PATCH", f"{kv2}/data/a", {"data": {"y": "2", "deep": {"drop": None}}}, headers=merge)
    data = kv.read_secret_version("a", raise_on_deleted_version=True, **at)["data"]
    assert data["data"] == {"x": "1", "y": "2", "deep": {"keep": "k"}} and data["metadata"]["version"] == 2
    answer = raw.request("PATCH", f"{kv2}/data/a", {"data": {"y": "3"}, "options": {"cas": 1}}, headers=merge)
    assert answer.status == 400 and answer.errors == [CAS_MISMATCH]
    answer = raw.request("PATCH", f"{kv2}/data/a", {"data": {"y": "3"}, "options": {"cas": 2}}, headers=merge)
    assert answer.status == 200 and answer.data["version"] == 3
    # hvac's own patch reads, merges the top level and writes with check-and-set.
    assert kv.patch("a", {"z": "4"}, **at)["data"]["version"] == 4
    assert raw.get(f"{kv2}/data/a").data["data"] == {"x": "1", "y": "3", "z": "4", "deep": {"keep": "k"}}
    # Any other media type is refused.
    wrong = raw.request("PATCH", f"{kv2}/data/a", {"data": {}}, headers={"Content-Type": "application/json"})
    assert wrong.status in (400, 415), wrong.text


def test_patch_needs_its_capability(root, kv2, with_policy, raw):
    root.secrets.kv.v2.create_or_update_secret("a", {"x": "1"}, mount_point=kv2)
    merge = {"Content-Type": "application/merge-patch+json"}
    body = {"data": {"y": "2"}}
    for capabilities, status in (('"create", "update", "read"', 403), ('"patch"', 200)):
        client = with_policy(f'path "{kv2}/data/*" {{ capabilities = [{capabilities}] }}')
        answer = raw.request("PATCH", f"{kv2}/data/a", body, headers=merge, token=client.token)
        assert answer.status == status, answer.text


def test_subkeys(raw, kv2):
    raw.expect(200, "POST", f"{kv2}/data/a", {"data": {"x": "1", "deep": {"y": {"z": "2"}, "l": [1]}}})
    answer = raw.get(f"{kv2}/subkeys/a")
    assert answer.data["subkeys"] == {"x": None, "deep": {"y": {"z": None}, "l": None}}
    assert answer.data["metadata"]["version"] == 1
    assert raw.get(f"{kv2}/subkeys/a?depth=1").data["subkeys"] == {"x": None, "deep": None}
    assert raw.get(f"{kv2}/subkeys/a?depth=2").data["subkeys"] == {"x": None, "deep": {"y": None, "l": None}}
    raw.expect(200, "POST", f"{kv2}/data/a", {"data": {"new": "1"}})
    assert raw.get(f"{kv2}/subkeys/a?version=1&depth=1").data["subkeys"] == {"x": None, "deep": None}
    assert raw.get(f"{kv2}/subkeys/nope").status == 404


def test_bad_writes(raw, kv2):
    for body, error in (({}, "no data provided"), ({"options": {"cas": 0}}, "no data provided")):
        answer = raw.post(f"{kv2}/data/a", body)
        assert answer.status == 400 and answer.errors == [error], answer.text
    assert raw.post(f"{kv2}/data/a", {"data": "text"}).status == 400
    assert raw.post(f"{kv2}/data/a", {"data": {"x": 1}, "options": {"cas": "abc"}}).status == 400
    assert raw.get(f"{kv2}/data/a?version=abc").status == 400
    assert raw.get(f"{kv2}/metadata/a").status == 404


def test_paths_without_data_are_explained(raw, kv2):
    """`vault read secret/a` on a version 2 mount is everybody's first mistake."""
    answer = raw.get(f"{kv2}/a")
    assert answer.status == 404
    assert answer.json["warnings"][0].startswith("Invalid path for a versioned K/V secrets engine.")


def test_least_privilege(root, kv2, with_policy):
    root.secrets.kv.v2.create_or_update_secret("a", {"x": "1"}, mount_point=kv2)
    client = with_policy(f'path "{kv2}/data/*" {{ capabilities = ["read"] }}')
    kv, at = client.secrets.kv.v2, {"mount_point": kv2}
    assert kv.read_secret_version("a", raise_on_deleted_version=True, **at)["data"]["data"] == {"x": "1"}
    for call in (lambda: kv.read_secret_metadata("a", **at), lambda: kv.list_secrets("", **at),
                 lambda: kv.create_or_update_secret("a", {}, **at), lambda: kv.destroy_secret_versions("a", [1], **at),
                 lambda: kv.delete_latest_version_of_secret("a", **at)):
        refused(exceptions.Forbidden, call)


def test_upgrade_from_version_1(root, raw, kv1):
    """Tuning a version 1 mount to version 2 keeps its secrets as their version 1."""
    root.secrets.kv.v1.create_or_update_secret("dir/a", {"x": "1"}, mount_point=kv1)
    # 200 where the server warns that the upgrade takes a moment.
    assert raw.post(f"sys/mounts/{kv1}/tune", {"options": {"version": "2"}}).status in (200, 204)
    eventually(lambda: raw.get(f"{kv1}/data/dir/a").status == 200)
    data = raw.get(f"{kv1}/data/dir/a").data
    assert data["data"] == {"x": "1"} and data["metadata"]["version"] == 1
    assert raw.list(f"{kv1}/metadata/").data["keys"] == ["dir/"]


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 12345678901234567890, 1.5, 1e300])
def test_numbers_keep_their_digits(raw, kv2, number, product):
    if product == "openbao" and isinstance(number, int) and number > 2**53:
        pytest.skip("OpenBao rounds large integers")
    raw.expect(200, "POST", f"{kv2}/data/n", {"data": {"n": number}})
    assert raw.get(f"{kv2}/data/n").data["data"]["n"] == number
