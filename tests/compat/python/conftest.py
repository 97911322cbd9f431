"""Fixtures: real servers, and hvac clients of them.

$STRONGROOM_SERVER names the server binary, $STRONGROOM_TLS=1 has every server speak TLS.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path

import hvac
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "harness"))
import server as harness  # noqa: E402

harness.end_tidily_on_sigterm()
TLS = os.environ.get("STRONGROOM_TLS") == "1"


def hvac_client(of, token=None):
    """An unmodified hvac client of a server; `token=""` is a client without one."""
    client = hvac.Client(url=of.address, verify=str(of.ca_file) if of.ca_file else True)
    # hvac falls back to VAULT_TOKEN and ~/.vault-token; a test names its token.
    client.token = of.root_token if token is None else token
    return client


@pytest.fixture(scope="session")
def product():
    """"strongroom", "vault" or "openbao": a test accepts a peer's own wording only from that peer."""
    return harness.product_of(harness.find_binary())


@pytest.fixture
def not_openbao(product):
    """For a test of what Vault documents and OpenBao is known to do otherwise."""
    if product == "openbao":
        pytest.skip("OpenBao differs from Vault here")


@pytest.fixture
def fresh():
    """A server that was started and never initialised."""
    with harness.Server.temporary(tls=TLS) as made:
        yield made.start()


@pytest.fixture
def fresh_and_open():
    """The same, with what needs no token in earlier versions of Vault open to anyone."""
    opened = 'enable_unauthenticated_access = ["generate-root", "rekey"]'
    with harness.Server.temporary(tls=TLS, extra_config=opened) as made:
        yield made.start()


@pytest.fixture(scope="session")
def vault():
    """The unsealed server that most tests share, with a file audit device on; each test uses its own paths."""
    with harness.Server.temporary(tls=TLS) as made:
        made.ready().enable_file_audit()
        yield made


@pytest.fixture
def root(vault):
    """hvac with the root token."""
    return hvac_client(vault)


@pytest.fixture
def raw(vault):
    """Plain HTTP with the root token, for what hvac has no method for."""
    connection = vault.http()
    yield connection
    connection.close()


@pytest.fixture
def name():
    """A name no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client_of(vault):
    """Makes an hvac client under a token (none: without one)."""
    return lambda token="": hvac_client(vault, token)


@pytest.fixture
def with_policy(vault, root, name):
    """Makes an hvac client whose token carries just the given policy text (and no default policy)."""

    def make(text, **options):
        root.sys.create_or_update_policy(name, text)
        made = root.auth.token.create(policies=[name], no_default_policy=True, ttl="1h", **options)
        return hvac_client(vault, made["auth"]["client_token"])

    return make


@pytest.fixture
def kv1(root, name):
    """The mount path of a fresh KV version 1 engine."""
    path = f"{name}-kv1"
    root.sys.enable_secrets_engine("kv", path=path, options={"version": "1"})
    return path


@pytest.fixture
def kv2(root, name):
    """The mount path of a fresh KV version 2 engine."""
    path = f"{name}-kv2"
    root.sys.enable_secrets_engine("kv", path=path, options={"version": "2"})
    # A new version 2 mount may answer "upgrading" for a moment.
    eventually(lambda: root.secrets.kv.v2.read_configuration(mount_point=path))
    return path


def needs(of, path):
    """Skips a test of an optional part where the server (with its root token) knows no such path."""
    answer = of.http().get(path)
    if answer.status == 404 and any("unsupported path" in e or "no handler" in e for e in answer.errors or []):
        pytest.skip(f"this server has no {path}")


@pytest.fixture
def identity(raw):
    """For tests of entities: skips where the server has no identity engine."""
    if "identity/" not in raw.get("sys/mounts").data:
        pytest.skip("this server has no identity engine")


def said(answer, text):
    """Whether an answer's one error is `text`, by itself or in the list that Vault makes of several."""
    return answer.errors in ([text], [f"1 error occurred:\n\t* {text}\n\n"])


def eventually(check, limit_s=10.0):
    """Repeats `check` until it neither raises nor returns False, and returns what it returned."""
    until = time.monotonic() + limit_s
    while True:
        try:
            result = check()
            if result is not False:
                return result
            failure = AssertionError(f"still False after {limit_s} s")
        except (hvac.exceptions.VaultError, AssertionError, pytest.fail.Exception) as error:
            failure = error
        if time.monotonic() > until:
            raise failure
        time.sleep(0.05)


def refused(exception, call, *texts):
    """`call` must raise exactly `exception`, with exactly one of `texts` as its one error (none given: any)."""
    with pytest.raises(hvac.exceptions.VaultError) as caught:
        call()
    assert type(caught.value) is exception, f"expected {exception.__name__}, got {caught.value!r}"
    if texts:
        assert caught.value.errors in [[text] for text in texts], caught.value.errors
    return caught.value


def audit_records(of, **matching):
    """The records of the audit file whose top-level or request fields equal `matching` (`path=…`, `type=…`)."""
    found = []
    for line in of.audit_file.read_text().splitlines():
        record = json.loads(line)
        fields = {**record.get("request", {}), "type": record["type"]}
        if all(fields.get(key) == value for key, value in matching.items()):
            found.append(record)
    return found
