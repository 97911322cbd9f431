"""Login MFA: passcodes from a real authenticator library, with hvac and the command line."""

import base64
import os
import pty
import select
import subprocess
import time

import pyotp
import pytest
import server as harness
from conftest import refused
from hvac import exceptions

pytestmark = pytest.mark.usefixtures("identity")


@pytest.fixture
def guarded(root, raw, name):
    """A userpass mount whose user `ann` needs a passcode: the mount, the method's id, and her authenticator."""
    raw.expect(204, "POST", f"sys/auth/{name}", {"type": "userpass"})
    raw.expect(204, "POST", f"auth/{name}/users/ann", {"password": "p"})
    entity = root.auth.userpass.login("ann", "p", mount_point=name, use_token=False)["auth"]["entity_id"]
    options = {"issuer": "A Corp", "period": "2s", "digits": 8, "algorithm": "SHA256", "method_name": name}
    method = raw.expect(200, "POST", "identity/mfa/method/totp", options).data["method_id"]
    accessor = raw.get("sys/auth").data[f"{name}/"]["accessor"]
    rule = {"mfa_method_ids": [method], "auth_method_accessors": [accessor]}
    raw.expect(204, "POST", f"identity/mfa/login-enforcement/{name}", rule)
    key = raw.expect(200, "POST", "identity/mfa/method/totp/admin-generate", {"method_id": method, "entity_id": entity}).data
    assert base64.b64decode(key["barcode"]).startswith(b"\x89PNG\r\n\x1a\n")
    app = pyotp.parse_uri(key["url"])
    assert (app.issuer, app.name, app.digits, app.interval) == ("A Corp", entity, 8, 2)
    yield name, method, app
    raw.expect(204, "DELETE", f"identity/mfa/login-enforcement/{name}")


def fresh(app, used=None):
    """A passcode of the app that is not `used`."""
    while (code := app.now()) == used:
        time.sleep(0.05)
    return code


def test_two_requests(guarded, client_of, raw):
    mount, method, app = guarded
    client = client_of()
    waiting = client.auth.userpass.login("ann", "p", mount_point=mount, use_token=False)["auth"]
    assert waiting["client_token"] == ""
    requirement = waiting["mfa_requirement"]
    offered = {"type": "totp", "id": method, "uses_passcode": True, "name": mount}
    assert requirement["mfa_constraints"] == {mount: {"any": [offered]}}
    anyone = raw.with_token(None)
    payload = {"mfa_request_id": requirement["mfa_request_id"], "mfa_payload": {method: ["00000000"]}}
    assert anyone.post("sys/mfa/validate", payload).status == 403
    code = fresh(app)
    payload["mfa_payload"] = {mount: [f"passcode={code}"]}
    client.token = anyone.expect(200, "POST", "sys/mfa/validate", payload).json["auth"]["client_token"]
    assert client.auth.token.lookup_self()["data"]["meta"] == {"username": "ann"}
    assert anyone.post("sys/mfa/validate", payload).status == 403
    header = {"X-Vault-MFA": f"{method}:{code}"}
    used = anyone.post(f"auth/{mount}/login/ann", {"password": "p"}, headers=header)
    assert used.status == 403 and "code already used" in used.errors[0]


def test_one_request(guarded, client_of, raw):
    mount, method, app = guarded
    anyone = raw.with_token(None)
    header = {"X-Vault-MFA": f"{mount}:{fresh(app)}"}
    made = anyone.expect(200, "POST", f"auth/{mount}/login/ann", {"password": "p"}, headers=header).json["auth"]
    assert made["client_token"] and made["mfa_requirement"] is None
    wrong = anyone.post(f"auth/{mount}/login/ann", {"password": "x"}, headers={"X-Vault-MFA": f"{mount}:{fresh(app)}"})
    assert wrong.status == 400, "the first factor comes first"
    refused(exceptions.InvalidRequest, lambda: client_of().auth.userpass.login("ann", "x", mount_point=mount))


def test_command_line_asks(guarded, vault, tmp_path, product):
    if product != "strongroom":
        pytest.skip("the other's command line is another program")
    mount, method, app = guarded
    environment = {**os.environ, "HOME": str(tmp_path), "VAULT_ADDR": vault.address}
    environment |= {"VAULT_CACERT": str(vault.ca_file)} if vault.ca_file else {}
    command = [str(harness.find_binary()), "login", "-method=userpass", f"-path={mount}", "username=ann", "password=p"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"Enter the passphrase for methodID" not in shown:
        assert select.select([ours], [], [], 30)[0], shown
        shown += os.read(ours, 4096)
    os.write(ours, fresh(app).encode() + b"\n")
    assert process.wait(30) == 0, shown
    assert (tmp_path / ".vault-token").read_text().startswith("hvs.")
    os.close(ours)
    told = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert "mfa_request_id" in told.stdout and "sys/mfa/validate" in told.stderr
