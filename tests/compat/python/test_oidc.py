"""Identity tokens and the OIDC provider, with Authlib as the relying party: discovery, key sets, signatures, the code flow."""

import base64
import os

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from conftest import hvac_client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

pytestmark = pytest.mark.usefixtures("identity")

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"]
CALLBACK = "http://127.0.0.1:8251/callback"


@pytest.fixture
def web(vault):
    """HTTP as an application speaks it, without a token."""
    session = requests.Session()
    session.verify = str(vault.ca_file) if vault.ca_file else True
    return session


@pytest.fixture
def ann(raw, vault, name):
    """The token and the entity of somebody who has logged in, and may get identity tokens."""
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    text = 'path "identity/oidc/token/*" { capabilities = ["read"] }'
    raw.expect(204, "PUT", f"sys/policies/acl/{name}", {"policy": text})
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p", "token_policies": name})
    auth = hvac_client(vault, "").auth.userpass.login("ann", "p", mount_point=name)["auth"]
    raw.expect(204, "POST", f"identity/entity/id/{auth['entity_id']}", {"metadata": {"team": "red"}})
    return auth["client_token"], auth["entity_id"]


def verified(token, keys, algorithm, **expected):
    """The claims of a token, its signature and its claims checked."""
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=[algorithm])
    options = {claim: {"essential": True, "value": value} for claim, value in expected.items()}
    jwt.JWTClaimsRegistry(**options).validate(decoded.claims)
    return decoded.claims


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_identity_token_is_verified_by_discovery(raw, vault, web, ann, name, algorithm):
    token, entity = ann
    raw.expect(204, "POST", f"identity/oidc/key/{name}", {"algorithm": algorithm, "allowed_client_ids": "*"})
    template = '{"team": {{identity.entity.metadata.team}}, "nbf": {{time.now}}}'
    raw.expect(204, "POST", f"identity/oidc/role/{name}", {"key": name, "client_id": "app", "template": template})
    given = raw.get(f"identity/oidc/token/{name}", token=token).data
    told = web.get(f"{vault.address}/v1/identity/oidc/.well-known/openid-configuration").json()
    assert algorithm in told["id_token_signing_alg_values_supported"]
    answer = web.get(told["jwks_uri"])
    assert answer.headers["Cache-Control"].startswith("max-age=")
    claims = verified(given["token"], answer.json(), algorithm, iss=told["issuer"], aud="app", sub=entity)
    assert (claims["team"], claims["exp"] - claims["iat"]) == ("red", given["ttl"])
    assert raw.post("identity/oidc/introspect", {"token": given["token"], "client_id": "app"}).json == {"active": True}
    raw.expect(204, "POST", f"identity/oidc/key/{name}/rotate", {"verification_ttl": 0})
    with pytest.raises((JoseError, ValueError)):
        verified(given["token"], web.get(told["jwks_uri"]).json(), algorithm)
    told = raw.post("identity/oidc/introspect", {"token": given["token"]}).json
    assert told["active"] is False and told["error"]


@pytest.fixture
def provider(raw, vault, web, ann, name):
    """A provider with a client for Ann: what its discovery document says, and the client."""
    raw.expect(204, "POST", f"identity/oidc/key/{name}", {"algorithm": "ES256", "allowed_client_ids": "*"})
    raw.expect(204, "POST", f"identity/oidc/assignment/{name}", {"entity_ids": [ann[1]]})
    template = '{"team": {{identity.entity.metadata.team}}, "contact": {"mail": {{identity.entity.metadata.mail}}}}'
    encoded = base64.b64encode(template.encode()).decode()
    raw.expect(204, "POST", f"identity/oidc/scope/{name}", {"template": encoded})
    client = {"key": name, "assignments": [name], "redirect_uris": [CALLBACK]}
    raw.expect(204, "POST", f"identity/oidc/client/{name}", client)
    raw.expect(204, "POST", f"identity/oidc/client/{name}-cli", client | {"client_type": "public"})
    raw.expect(204, "POST", f"identity/oidc/provider/{name}", {"allowed_client_ids": "*", "scopes_supported": [name]})
    told = web.get(f"{vault.address}/v1/identity/oidc/provider/{name}/.well-known/openid-configuration").json()
    clients = [raw.get(f"identity/oidc/client/{one}").data for one in (name, f"{name}-cli")]
    return told, *clients


def session_of(web, told, client, **options):
    method = options.pop("method", "client_secret_basic")
    session = OAuth2Session(
        client["client_id"], client.get("client_secret"), redirect_uri=CALLBACK, token_endpoint_auth_method=method, **options
    )
    session.verify = web.verify
    return session


def code_for(raw, session, told, token, **more):
    """What the page at the authorization endpoint does for a person who has logged in: passes the query on to the API."""
    url, state = session.create_authorization_url(told["authorization_endpoint"], **more)
    assert url.startswith(told["issuer"].replace("/v1/", "/ui/vault/") + "/authorize?")
    path = told["issuer"].split("/v1/")[1]
    answer = raw.request("GET", f"/v1/{path}/authorize?{url.split('?')[1]}", None, token=token)
    assert answer.status == 200, answer.text
    assert answer.json["state"] == state
    return answer.json["code"]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_code_flow(raw, web, provider, ann, name, method):
    told, client, _ = provider
    token, entity = ann
    session = session_of(web, told, client, method=method, scope=f"openid {name}")
    code = code_for(raw, session, told, token, nonce="n-0S6", max_age=3600)
    given = session.fetch_token(told["token_endpoint"], code=code, grant_type="authorization_code")
    keys = web.get(told["jwks_uri"]).json()
    decoded = jwt.decode(given["id_token"], KeySet.import_key_set(keys), algorithms=["ES256"])
    options = {"iss": {"value": told["issuer"]}, "aud": {"value": client["client_id"]}}
    asked = {"nonce": "n-0S6", "client_id": client["client_id"], "access_token": given["access_token"], "max_age": 3600}
    claims = CodeIDToken(decoded.claims, decoded.header, options, asked)
    claims.validate()
    assert (claims["sub"], claims["team"], claims["contact"]) == (entity, "red", {})
    assert claims["auth_time"] <= claims["iat"]
    told_of = session.get(told["userinfo_endpoint"]).json()
    assert told_of == {"sub": entity, "team": "red", "contact": {}}
    again = web.post(
        told["token_endpoint"],
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK},
        auth=(client["client_id"], client["client_secret"]),
    )
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    late = session.get(told["userinfo_endpoint"])
    assert (late.status_code, late.json()["error"]) == (401, "invalid_token"), "a replayed code revokes"
    assert 'error="invalid_token"' in late.headers["WWW-Authenticate"]


def test_a_public_client(raw, web, provider, ann):
    told, _, client = provider
    assert "client_secret" not in client
    session = session_of(web, told, client, method="none", scope="openid", code_challenge_method="S256")
    verifier = base64.urlsafe_b64encode(os.urandom(40)).decode().rstrip("=")
    code = code_for(raw, session, told, ann[0], code_verifier=verifier)
    given = session.fetch_token(told["token_endpoint"], code=code, code_verifier=verifier)
    claims = verified(given["id_token"], web.get(told["jwks_uri"]).json(), "ES256", aud=client["client_id"])
    assert claims["sub"] == ann[1]


def test_a_client_must_authenticate(web, provider):
    told, client, _ = provider
    data = {"grant_type": "authorization_code", "code": "x", "redirect_uri": CALLBACK}
    for auth in (None, (client["client_id"], "hvo_secret_wrong"), ("unknown", client["client_secret"])):
        answer = web.post(told["token_endpoint"], data=data, auth=auth)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert answer.headers["Cache-Control"] == "no-store"
    answer = web.post(told["token_endpoint"], data=data, auth=(client["client_id"], client["client_secret"]))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_the_authorization_endpoint_is_a_page(web, provider, product):
    told, _, _ = provider
    page = web.get(told["authorization_endpoint"], headers={"Accept": "text/html"}, params={"client_id": "x"})
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    if product == "strongroom":
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
