"""The shape of errors, which clients match on, and of HTTP itself."""

import pytest
from conftest import needs, said



@pytest.mark.parametrize("token", ["", "nonsense", "hvs.CAESINONSENSE", "s.nonsense", "hvb.AAAAAQnonsense", "x" * 8_000])
def test_no_or_unknown_token(raw, kv2, token):
    answer = raw.get(f"{kv2}/data/a", token=token)
    assert answer.status == 403
    # Vault says "invalid token" as well where there is one.
    assert answer.errors in (["permission denied"], ["permission denied", "invalid token"],
                             ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_a_token_beyond_the_limit_of_the_listener(raw, kv2):
    answer = raw.get(f"{kv2}/data/a", token="x" * 10_000)
    assert answer.status == 400 and "longer than 8192 bytes" in answer.text


def test_denied_by_policy(raw, kv2, with_policy):
    token = with_policy('path "nothing" { capabilities = ["read"] }').token
    for method in ("GET", "LIST", "POST", "DELETE"):
        answer = raw.request(method, f"{kv2}/data/a", {"data": {}} if method == "POST" else None, token=token)
        assert answer.status == 403 and said(answer, "permission denied"), answer.text


def test_absent_is_an_empty_list_of_errors(raw, kv2):
    for method, path in (("GET", "data/none"), ("GET", "metadata/none"), ("LIST", "metadata/none")):
        answer = raw.request(method, f"{kv2}/{path}")
        assert answer.status == 404 and answer.json == {"errors": []}


def test_unsupported(raw, kv2):
    answer = raw.post("sys/mounts", {})
    assert answer.status == 405 and said(answer, "unsupported operation"), answer.text
    answer = raw.get("sys/no-such-path")
    assert answer.status == 404 and said(answer, "unsupported path"), answer.text
    assert raw.request("DELETE", "sys/health").status == 405
    assert raw.get("/v2/anything").status == 404


@pytest.mark.parametrize("body", [b"{bad", b"[]", b'"text"', b"{\"a\": 1", b"\xff\xfe", b"{\"a\":1}}}"])
def test_bad_json(raw, kv2, body):
    answer = raw.post(f"{kv2}/data/a", body)
    assert answer.status == 400, answer.text
    assert len(answer.errors) == 1 and answer.errors[0]


def test_deeply_nested_json_does_not_end_the_server(raw, kv2):
    depth = 100_000
    answer = raw.post(f"{kv2}/data/a", b'{"data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}")
    assert answer.status in (400, 413, 500)
    assert raw.get("sys/health").status == 200


def test_oversized_body(raw, kv2):
    try:
        answer = raw.post(f"{kv2}/data/a", b'{"data":{"a":"' + b"x" * (33 * 1024 * 1024) + b'"}}')
        assert answer.status in (400, 413), answer.status
    except ConnectionError:
        # The server may close the connection instead of reading all of it.
        pass
    raw.close()
    assert raw.get("sys/health").status == 200


def test_list_by_query_and_by_method(raw, kv1):
    raw.expect(204, "POST", f"{kv1}/a", {"x": "1"})
    for answer in (raw.list(f"{kv1}/"), raw.get(f"{kv1}/?list=true"), raw.list(kv1)):
        assert answer.status == 200 and answer.data["keys"] == ["a"], answer.text


def test_head_and_unknown_methods(raw):
    assert raw.request("HEAD", "sys/health").status == 200
    assert raw.request("OPTIONS", "sys/mounts").status in (200, 204, 400, 405)
    assert raw.request("BREW", "sys/mounts").status in (400, 405)


def test_envelope(raw):
    body = raw.get("sys/mounts").json
    assert {"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth"} <= body.keys()
    # System reads repeat their data beside the envelope, as Vault always did.
    assert body["cubbyhole/"] == body["data"]["cubbyhole/"]


def test_headers_of_the_clients(raw):
    """What the clients send along: the mark of a deliberate request, and the root namespace by its names."""
    for headers in ({"X-Vault-Request": "true"}, {"X-Vault-Namespace": ""}, {"X-Vault-Namespace": "root"}):
        assert raw.get("sys/mounts", headers=headers).status == 200, headers


def test_unknown_namespace(raw):
    answer = raw.get("sys/mounts", headers={"X-Vault-Namespace": "no-such-namespace"})
    assert answer.status in (403, 404), answer.text


def test_warnings_for_unknown_parameters(raw, name):
    answer = raw.post("auth/token/create", {"policies": ["default"], "no_such_parameter": "x"})
    assert answer.status == 200
    assert any("no_such_parameter" in w for w in answer.json["warnings"] or []), answer.text


def test_help(raw, kv2):
    for path in (f"{kv2}/data/a", "sys/mounts", "auth/token/create"):
        answer = raw.get(f"{path}?help=1")
        assert answer.status == 200 and answer.json["help"], answer.text


def test_openapi_document(raw):
    document = raw.get("sys/internal/specs/openapi").json
    assert document["openapi"].startswith("3.")
    assert "/sys/mounts" in document["paths"] and "/auth/token/create" in document["paths"]


def test_metrics(vault, raw):
    needs(vault, "sys/metrics")
    answer = raw.get("sys/metrics?format=prometheus")
    assert answer.status == 200 and "vault_" in answer.text
