"""The exact bodies of refusals, which scripts and clients match on.

Vault answers what its own handlers say as it is, and what policies, routing and some handlers say as a list of errors,
even of one. `openbao` is what OpenBao is known to answer instead.
"""

import uuid
from dataclasses import dataclass, field

import pytest
import server as harness
from conftest import TLS, eventually

POLICY = """
path "{kv1}/par" {{ capabilities = ["create", "update"] allowed_parameters = {{ "a" = ["1"] }} }}
path "{kv1}/req" {{ capabilities = ["create", "update"] required_parameters = ["z"] }}
path "{kv1}/wrap" {{ capabilities = ["read"] min_wrapping_ttl = "1m" }}
path "auth/token/create" {{ capabilities = ["update"] }}
path "sys/seal" {{ capabilities = ["update"] }}
"""


def listed(*texts):
    """Errors as Vault lists them."""
    count = f"{len(texts)} error{'' if len(texts) == 1 else 's'} occurred:\n"
    return count + "".join(f"\t* {text}\n" for text in texts) + "\n"


DENIED = listed("permission denied")
UNKNOWN_TOKEN = listed("permission denied", "invalid token")
UNSUPPORTED = listed("unsupported operation")
NOWHERE = listed("unsupported path")
NOT_WRAPPING = "wrapping token is not valid or does not exist"
FIELD = 'Field validation failed: error converting input for field "{}": {}'
MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass
class Case:
    """A request and what it is refused with. Braces in paths, bodies and tokens name members of the world."""

    name: str
    method: str
    path: str
    status: int
    errors: list
    body: object = None
    token: str = "{root}"
    headers: dict = field(default_factory=dict)
    openbao: tuple = None


def case(name, request, status, *errors, **more):
    method, path = request.split(" ")
    return Case(name, method, path, status, list(errors), **more)


CASES = [
    # Who asks.
    case("no token", "GET {kv2}/data/a", 403, "permission denied", token=""),
    case("no token, unknown mount", "GET no-such-mount/a", 403, "permission denied", token=""),
    case("unknown token", "GET {kv2}/data/a", 403, UNKNOWN_TOKEN, token="hvs.unknown", openbao=(403, ["permission denied"])),
    case("unknown token, unknown mount", "GET no-such-mount/a", 403, UNKNOWN_TOKEN, token="hvs.unknown",
         openbao=(403, ["permission denied"])),
    case("revoked token", "GET auth/token/lookup-self", 403, UNKNOWN_TOKEN, token="{revoked}",
         openbao=(403, ["permission denied"])),
    case("used up token", "GET auth/token/lookup-self", 403, UNKNOWN_TOKEN, token="{used_up}",
         openbao=(403, ["permission denied"])),
    # What policies refuse.
    case("denied by policy", "GET {kv2}/data/a", 403, DENIED, token="{limited}"),
    case("denied by policy, unknown mount", "GET no-such-mount/a", 403, DENIED, token="{limited}"),
    case("denied by a parameter's value", "POST {kv1}/par", 403, DENIED, body={"a": "2"}, token="{limited}"),
    case("denied by a parameter's name", "POST {kv1}/par", 403, DENIED, body={"b": "1"}, token="{limited}"),
    case("required parameter missing", "POST {kv1}/req", 403, DENIED, body={"a": "1"}, token="{limited}"),
    case("wrapping required", "GET {kv1}/wrap", 403, DENIED, token="{limited}"),
    case("no sudo", "POST sys/seal", 403, DENIED, body={}, token="{limited}"),
    case("a wrapping token for something else", "GET sys/mounts", 403, DENIED, token="{wrapping}"),
    case("more policies than the parent has", "POST auth/token/create", 400,
         "child policies must be subset of parent", body={"policies": ["another"]}, token="{limited}"),
    # Where nothing is.
    case("unknown mount", "GET no-such-mount/a", 404, 'no handler for route "no-such-mount/a". route entry not found.'),
    case("unknown auth mount", "POST auth/no-such-mount/login", 404,
         'no handler for route "auth/no-such-mount/login". route entry not found.', body={}),
    case("unknown path in sys", "GET sys/no-such-path", 404, NOWHERE),
    case("unknown path in a mount", "GET auth/token/no-such-path", 404, NOWHERE),
    case("wrong method", "DELETE sys/mounts", 405, UNSUPPORTED),
    case("wrong method in a mount", "DELETE auth/token/lookup-self", 405, UNSUPPORTED),
    case("patch where there is none", "PATCH {kv1}/a", 405, UNSUPPORTED, body={"a": 1}, headers=MERGE),
    case("nothing there", "GET {kv2}/data/none", 404),
    case("an empty list", "LIST {kv1}/none", 404),
    case("no such policy", "GET sys/policies/acl/none", 404),
    case("no such password policy", "GET sys/policies/password/none", 404, listed("policy does not exist")),
    # What requests say.
    case("wrong type: a number", "POST {kv2}/config", 400,
         FIELD.format("max_versions", "'' cannot parse value as 'int': strconv.ParseInt: invalid syntax"),
         body={"max_versions": "x"}),
    case("wrong type: an object for a number", "POST {kv2}/config", 400,
         FIELD.format("max_versions", "'' expected type 'int', got unconvertible type 'map[string]interface {}'"),
         body={"max_versions": {"a": 1}}),
    case("wrong type: a boolean", "POST auth/token/create", 400,
         FIELD.format("renewable", "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax"),
         body={"renewable": "maybe"}),
    case("wrong type: a text", "POST auth/token/create", 400,
         FIELD.format("display_name", "'' expected type 'string', got unconvertible type 'map[string]interface {}'"),
         body={"display_name": {"a": 1}}),
    case("wrong type: a list", "POST auth/token/create", 400,
         FIELD.format("policies", "decoding failed due to the following error(s):\n\n"
                                  "'[1]' expected type 'string', got unconvertible type '[]interface {}'"),
         body={"policies": ["a", [1]]}),
    case("wrong type: numbers", "POST {kv2}/destroy/a", 400,
         FIELD.format("versions", "decoding failed due to the following error(s):\n\n"
                                  "'[0]' cannot parse value as 'int': strconv.ParseInt: invalid syntax"),
         body={"versions": "x"}),
    case("wrong type: a duration", "POST {kv2}/config", 400,
         FIELD.format("delete_version_after", "could not parse duration from input"), body={"delete_version_after": {"a": 1}}),
    case("bad duration", "POST auth/token/create", 400, 'time: invalid duration "abc"', body={"ttl": "abc"}),
    case("unknown unit", "POST auth/token/create", 400, 'time: unknown unit "x" in duration "1x"', body={"ttl": "1x"}),
    case("missing unit", "POST auth/token/create", 400, 'time: missing unit in duration "1h2"', body={"ttl": "1h2"}),
    case("endless duration", "POST auth/token/create", 400,
         "multiplication of durations resulted in overflow, one operand may be too large", body={"ttl": "9999999999"}),
    case("bad wrap TTL", "GET sys/mounts", 400, 'error parsing X-Vault-Wrap-TTL header: time: invalid duration "abc"',
         headers={"X-Vault-Wrap-TTL": "abc"}),
    case("lookup of a revoked token", "POST auth/token/lookup", 403, "bad token", body={"token": "{revoked}"}),
    case("an empty secret", "POST {kv1}/a", 400, "missing data fields", body={}),
    case("a version without data", "POST {kv2}/data/a", 400, "no data provided", body={}),
    case("check and set mismatch", "POST {kv2}/data/a", 400, "check-and-set parameter did not match the current version",
         body={"data": {}, "options": {"cas": 7}}),
    # Tokens and leases.
    case("accessor of a revoked token", "POST auth/token/lookup-accessor", 400, listed("invalid accessor"),
         body={"accessor": "{revoked_accessor}"}),
    case("no accessor", "POST auth/token/lookup-accessor", 400, listed("missing accessor"), body={}),
    case("a token of an unknown role", "POST auth/token/create/none", 400, "unknown role none", body={}),
    case("capabilities of an unknown token", "POST sys/capabilities", 400, listed("invalid token"),
         body={"token": "x", "paths": ["a"]}),
    case("an unknown lease", "POST sys/leases/lookup", 400, "invalid lease", body={"lease_id": "x"}),
    # Wrapping.
    case("second unwrap", "POST sys/wrapping/unwrap", 400, NOT_WRAPPING, body={"token": "{unwrapped}"}),
    case("second unwrap by the token itself", "POST sys/wrapping/unwrap", 400, NOT_WRAPPING, token="{unwrapped}"),
    case("lookup of what is no token", "POST sys/wrapping/lookup", 400, NOT_WRAPPING, body={"token": "garbage"}),
    case("an empty wrapping token", "POST sys/wrapping/lookup", 403,
         "error validating wrapping token: empty token in request body", body={"token": ""}),
    case("wrap without a TTL", "POST sys/wrapping/wrap", 400, "endpoint requires response wrapping to be used", body={"a": 1}),
    # Policies and mounts.
    case("delete the root policy", "DELETE sys/policies/acl/root", 400, 'cannot delete "root" policy'),
    case("delete the default policy", "DELETE sys/policies/acl/default", 400, "cannot delete default policy"),
    case("a policy without text", "POST sys/policies/acl/x", 400, "'policy' parameter not supplied or empty", body={}),
    case("mount path in use", "POST sys/mounts/{kv1}", 400, "path is already in use at {kv1}/", body={"type": "kv"}),
    case("mount of an unknown type", "POST sys/mounts/x", 400, "plugin not found in the catalog: bogus", body={"type": "bogus"}),
    case("mount without a type", "POST sys/mounts/x", 400, "backend type must be specified as a string", body={}),
    case("auth method of an unknown type", "POST sys/auth/x", 400, "plugin not found in the catalog: bogus",
         body={"type": "bogus"}),
    # Logins.
    case("approle: wrong secret id", "POST auth/{approle}/login", 400, "invalid role or secret ID",
         body={"role_id": "{role_id}", "secret_id": "x"}, token=""),
    case("approle: wrong role id", "POST auth/{approle}/login", 400, "invalid role or secret ID",
         body={"role_id": "x", "secret_id": "x"}, token=""),
    case("approle: no secret id", "POST auth/{approle}/login", 400, "missing secret_id", body={"role_id": "{role_id}"}, token=""),
    case("approle: no role id", "POST auth/{approle}/login", 400, "missing role_id", body={}, token="",
         openbao=(500, ["missing role_id"])),
    case("userpass: wrong password", "POST auth/{userpass}/login/u", 400, "invalid username or password",
         body={"password": "x"}, token=""),
    case("userpass: unknown user", "POST auth/{userpass}/login/nobody", 400, "invalid username or password",
         body={"password": "x"}, token=""),
]


@pytest.fixture(scope="module")
def world(vault):
    """Mounts, tokens and roles that the cases speak of."""
    http = vault.http()
    name = f"t-{uuid.uuid4().hex[:8]}"
    kv1, kv2, approle, userpass = (f"{name}-{kind}" for kind in ("kv1", "kv2", "approle", "userpass"))
    for path, version in ((kv1, "1"), (kv2, "2")):
        http.expect(204, "POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": version}})
    eventually(lambda: http.get(f"{kv2}/config").status == 200)
    http.expect(200, "POST", f"{kv2}/data/a", {"data": {"x": 1}})
    for path, kind in ((approle, "approle"), (userpass, "userpass")):
        http.expect(204, "POST", f"sys/auth/{path}", {"type": kind})
    http.expect(204, "POST", f"auth/{approle}/role/web", {})
    http.expect(204, "POST", f"auth/{userpass}/users/u", {"password": "p"})
    http.expect(204, "POST", f"sys/policies/acl/{name}", {"policy": POLICY.format(kv1=kv1)})

    def token(**options):
        return http.expect(200, "POST", "auth/token/create", options).json["auth"]

    limited = token(policies=[name], no_default_policy=True)["client_token"]
    revoked = token()
    http.expect(204, "POST", "auth/token/revoke-accessor", {"accessor": revoked["accessor"]})
    used_up = token(num_uses=1, policies=["default"])["client_token"]
    http.expect(200, "GET", "auth/token/lookup-self", token=used_up)

    def wrapping():
        return http.expect(200, "GET", "sys/mounts", headers={"X-Vault-Wrap-TTL": "60"}).json["wrap_info"]["token"]

    unwrapped = wrapping()
    http.expect(200, "POST", "sys/wrapping/unwrap", {"token": unwrapped})
    yield {
        "root": vault.root_token, "kv1": kv1, "kv2": kv2, "approle": approle, "userpass": userpass, "limited": limited,
        "revoked": revoked["client_token"], "revoked_accessor": revoked["accessor"], "used_up": used_up,
        "wrapping": wrapping(), "unwrapped": unwrapped,
        "role_id": http.get(f"auth/{approle}/role/web/role-id").data["role_id"],
    }
    http.close()


def filled(value, world):
    """`value` with the names in braces replaced, in texts and in the members of an object."""
    if isinstance(value, dict):
        return {name: filled(member, world) for name, member in value.items()}
    if isinstance(value, str) and value.count("{") == 1:
        return value.format_map(world)
    return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refusal(vault, world, product, case):
    status, errors = case.status, [filled(text, world) if "{kv" in text else text for text in case.errors]
    if product == "openbao" and case.openbao:
        status, errors = case.openbao
    http = vault.http(token="")
    answer = http.request(case.method, filled(case.path, world), filled(case.body, world), case.headers,
                          filled(case.token, world))
    http.close()
    assert (answer.status, answer.json) == (status, {"errors": errors}), answer.text


def test_refusals_while_sealed():
    with harness.Server.temporary(tls=TLS) as made:
        made.ready()
        http = made.http()
        # A use of a limited token is counted even if it seals.
        limited = http.expect(200, "POST", "auth/token/create", {"num_uses": 2}).json["auth"]["client_token"]
        http.expect(204, "PUT", "sys/seal", token=limited)
        for method, path in (("GET", "secret/a"), ("GET", "auth/token/lookup-self"), ("LIST", "sys/mounts")):
            for token in ("", "hvs.unknown", made.root_token):
                answer = http.request(method, path, token=token)
                assert (answer.status, answer.json) == (503, {"errors": ["Vault is sealed"]}), answer.text
        for body, text in (
            ({}, "'key' must be specified in request body as JSON, or 'reset' set to true"),
            ({"key": "no share!"}, "'key' must be a valid hex or base64 string"),
        ):
            answer = http.put("sys/unseal", body)
            assert (answer.status, answer.json) == (400, {"errors": [text]}), answer.text
        made.unseal()
        http.expect(200, "GET", "auth/token/lookup-self", token=limited)
        http.expect(403, "GET", "auth/token/lookup-self", token=limited)


@pytest.mark.parametrize(("path", "route"), [
    ("sys/capabilities", "^capabilities$"),
    ("{kv2}/data/a/b", "^data/(?P<path>.*)$"),
    ("auth/token/create", "^create$"),
])
def test_help_has_its_layout(raw, world, path, route):
    answer = raw.get(f"{filled(path, world)}?help=1")
    assert answer.status == 200
    # The path below the mount.
    mounted = {"sys": 1, "auth": 2}.get(path.split("/")[0], 1)
    request = "/".join(path.split("/")[mounted:])
    head, rest = answer.json["help"].split("\n\n", 1)
    assert head == f"Request:        {request}\nMatching Route: {route}"
    assert "\n## PARAMETERS\n\n    " in rest and "\n\n## DESCRIPTION\n\n" in rest


def test_help_of_a_mount(raw, world):
    for path in (world["kv2"], f"{world['kv2']}/"):
        text = raw.get(f"{path}?help=1").json["help"]
        assert text.startswith("## DESCRIPTION\n\n") and "\n\n## PATHS\n\n" in text
        assert "\n    ^config$\n        " in text and "\n    ^data/(?P<path>.*)$\n        " in text
    answer = raw.get("sys/no-such-path?help=1")
    assert (answer.status, answer.json) == (404, {"errors": [NOWHERE]})
