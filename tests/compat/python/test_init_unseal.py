"""Initialisation, unsealing, sealing and what a server answers in each state."""

import base64
import subprocess

import pytest
from conftest import eventually, hvac_client, needs, refused
from hvac import exceptions

HEALTH_FIELDS = {"initialized", "sealed", "standby", "server_time_utc", "version",
                 "replication_performance_mode", "replication_dr_mode"}


def health(of, query=""):
    return of.http(token="").get(f"sys/health{query}")


def test_before_initialisation(fresh):
    client = hvac_client(fresh, "")
    assert client.sys.is_initialized() is False
    assert client.sys.is_sealed() is True
    status = client.sys.read_seal_status()
    assert (status["type"], status["t"], status["n"], status["progress"]) == ("shamir", 0, 0, 0)
    answer = health(fresh)
    assert answer.status == 501
    assert HEALTH_FIELDS <= answer.json.keys()
    assert (answer.json["initialized"], answer.json["sealed"]) == (False, True)
    assert health(fresh, "?uninitcode=299").status == 299
    assert fresh.http(token="").request("HEAD", "sys/health").status == 501
    assert fresh.http(token="x").get("secret/data/x").status == 503
    assert fresh.http(token="").put("sys/unseal", {"key": "00" * 33}).status == 400


@pytest.mark.parametrize(("shares", "threshold"), [(0, 0), (1, 2), (3, 1), (5, 6), (256, 3), (5, 0)])
def test_impossible_shares_are_refused(fresh, shares, threshold):
    answer = fresh.http(token="").put("sys/init", {"secret_shares": shares, "secret_threshold": threshold})
    assert answer.status == 400, answer.text
    assert answer.errors and answer.errors[0]
    assert hvac_client(fresh, "").sys.is_initialized() is False


@pytest.fixture
def gpg(tmp_path):
    """Runs GnuPG with a key ring of its own."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)

    def run(*args, stdin=b""):
        command = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback", *args]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout

    yield run
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)


def test_keys_and_root_token_go_to_pgp_holders(fresh, gpg):
    client = hvac_client(fresh, "")
    holders = {"rsa@example.com": "rsa2048", "curve@example.com": "future-default"}
    for name, kind in holders.items():
        gpg("--quick-generate-key", name, kind, "default" if kind == "future-default" else "encr,sign", "never")
    keys = [base64.b64encode(gpg("--export", name)).decode() for name in holders]

    def reads(text):
        return gpg("--decrypt", stdin=base64.b64decode(text)).decode()

    answer = fresh.http(token="").put("sys/init", {"secret_shares": 3, "secret_threshold": 2, "pgp_keys": keys})
    assert answer.status == 400 and "count mismatch between number of provided PGP keys" in answer.text
    assert client.sys.is_initialized() is False

    made = client.sys.initialize(2, 2, pgp_keys=keys, root_token_pgp_key=keys[1])
    assert [base64.b64decode(k).hex() for k in made["keys_base64"]] == made["keys"]
    shares = [reads(text) for text in made["keys_base64"]]
    assert {len(share) for share in shares} == {66}
    for share in shares:
        status = client.sys.submit_unseal_key(share)
    assert status["sealed"] is False
    token = reads(made["root_token"])
    assert hvac_client(fresh, token).lookup_token()["data"]["policies"] == ["root"]


def test_init_five_shares_three_needed(fresh):
    client = hvac_client(fresh, "")
    made = client.sys.initialize(secret_shares=5, secret_threshold=3)
    assert {"keys", "keys_base64", "root_token"} <= made.keys()
    assert len(set(made["keys"])) == 5
    assert [base64.b64decode(k).hex() for k in made["keys_base64"]] == made["keys"]
    # 32 bytes of key and one byte that says which share it is.
    assert {len(k) for k in made["keys"]} == {66}
    assert made["root_token"].startswith(("hvs.", "s."))

    status = client.sys.read_seal_status()
    assert (status["initialized"], status["sealed"], status["t"], status["n"], status["progress"]) == (True, True, 3, 5, 0)
    assert status["storage_type"] == "raft"
    assert status["version"]
    answer = health(fresh)
    assert answer.status == 503 and answer.json["sealed"] is True
    assert health(fresh, "?sealedcode=298").status == 298
    refused(exceptions.InvalidRequest, lambda: client.sys.initialize(5, 3), "Vault is already initialized")

    # While sealed only the system's own unauthenticated paths answer.
    as_root = fresh.http(token=made["root_token"])
    for method, path in (("GET", "auth/token/lookup-self"), ("GET", "sys/mounts"), ("POST", "sys/policies/acl/x")):
        sealed = as_root.request(method, path, {} if method == "POST" else None)
        assert sealed.status == 503, (path, sealed.text)
        assert sealed.errors == ["Vault is sealed"], (path, sealed.text)

    # Progress counts distinct shares; giving one twice does not.
    assert client.sys.submit_unseal_key(made["keys"][0])["progress"] == 1
    assert client.sys.submit_unseal_key(made["keys"][0])["progress"] == 1
    second = client.sys.submit_unseal_key(made["keys_base64"][3])
    assert second["progress"] == 2 and second["nonce"]
    assert client.sys.read_seal_status()["nonce"] == second["nonce"]

    # Reset forgets what was given.
    assert client.sys.submit_unseal_key(reset=True)["progress"] == 0
    assert client.sys.read_seal_status()["nonce"] == ""

    refused(exceptions.InvalidRequest, lambda: client.sys.submit_unseal_key("not a key"),
            "'key' must be a valid hex or base64 string")
    nothing = fresh.http(token="").put("sys/unseal", {})
    assert nothing.status == 400
    assert nothing.errors == ["'key' must be specified in request body as JSON, or 'reset' set to true"]

    # A wrong share is found when the threshold is reached, and the count starts again.
    forged = made["keys"][2][:-4] + ("00" if made["keys"][2][-4:-2] != "00" else "11") + made["keys"][2][-2:]
    client.sys.submit_unseal_key(made["keys"][0])
    client.sys.submit_unseal_key(made["keys"][1])
    refused(exceptions.InvalidRequest, lambda: client.sys.submit_unseal_key(forged))
    assert client.sys.read_seal_status()["progress"] == 0
    assert client.sys.is_sealed()

    for share in (made["keys"][4], made["keys_base64"][1], made["keys"][2]):
        status = client.sys.submit_unseal_key(share)
    assert status["sealed"] is False and status["progress"] == 0
    eventually(lambda: health(fresh).status == 200)
    answer = health(fresh).json
    assert (answer["initialized"], answer["sealed"], answer["standby"]) == (True, False, False)
    assert answer["cluster_name"] and answer["cluster_id"]
    assert health(fresh, "?activecode=297").status == 297
    assert fresh.http(token="").request("HEAD", "sys/health").status == 200
    leader = client.sys.read_leader_status()
    assert leader["is_self"] is True and leader["leader_address"] == fresh.address

    # Sealing needs the right to; the data is there again after unsealing.
    client.token = made["root_token"]
    client.sys.create_or_update_policy("kept", 'path "a" { capabilities = ["read"] }')
    unprivileged = client.auth.token.create(policies=["default"])["auth"]["client_token"]
    refused(exceptions.Forbidden, hvac_client(fresh, unprivileged).sys.seal)
    assert client.sys.is_sealed() is False
    client.sys.seal()
    assert client.sys.is_sealed() is True
    assert health(fresh).status == 503
    refused(exceptions.VaultDown, client.auth.token.lookup_self, "Vault is sealed")
    client.sys.submit_unseal_keys(made["keys"][:3])
    eventually(lambda: "kept" in client.sys.list_policies()["data"]["policies"])


def test_restart_comes_up_sealed_with_its_data(fresh):
    fresh.init(3, 2).unseal()
    client = hvac_client(fresh)
    client.sys.enable_secrets_engine("kv", path="kv", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret("a", {"v": "1"}, mount_point="kv")
    token = client.auth.token.create(policies=["default"])["auth"]["client_token"]
    fresh.kill()
    fresh.start()
    assert health(fresh).status == 503
    fresh.unseal()
    assert client.secrets.kv.v1.read_secret("a", mount_point="kv")["data"] == {"v": "1"}
    assert hvac_client(fresh, token).auth.token.lookup_self()["data"]["policies"] == ["default"]


def test_rekey(fresh):
    fresh.init(3, 2).unseal()
    client = hvac_client(fresh)
    needs(fresh, "sys/rekey/init")
    raw = fresh.http()
    assert raw.get("sys/rekey/init").json["started"] is False
    client.sys.start_rekey(secret_shares=4, secret_threshold=3)
    progress = client.sys.read_rekey_progress()
    assert (progress["started"], progress["t"], progress["n"], progress["required"], progress["progress"]) == (True, 3, 4, 2, 0)
    refused(exceptions.InvalidRequest, lambda: client.sys.rekey(key=fresh.shares[0], nonce="wrong"))
    assert raw.delete("sys/rekey/init").status in (200, 204)
    assert client.sys.read_rekey_progress()["started"] is False
    client.sys.start_rekey(secret_shares=4, secret_threshold=3)
    nonce = client.sys.read_rekey_progress()["nonce"]
    assert client.sys.rekey(key=fresh.shares[0], nonce=nonce)["progress"] == 1
    done = client.sys.rekey(key=fresh.shares[1], nonce=nonce)
    assert done["complete"] is True and len(set(done["keys"])) == 4 and len(done["keys_base64"]) == 4

    # The old shares open nothing any more, the new ones do.
    client.sys.seal()
    anyone = hvac_client(fresh, "")
    anyone.sys.submit_unseal_key(fresh.shares[0])
    anyone.sys.submit_unseal_key(fresh.shares[1])
    refused(exceptions.InvalidRequest, lambda: anyone.sys.submit_unseal_key(fresh.shares[2]))
    assert anyone.sys.is_sealed()
    fresh.shares, fresh.threshold = done["keys"], 3
    fresh.unseal()
    assert client.auth.token.lookup_self()["data"]["policies"] == ["root"]


def test_new_root_token(fresh_and_open):
    fresh = fresh_and_open
    fresh.init(3, 2).unseal()
    needs(fresh, "sys/generate-root/attempt")
    anyone = hvac_client(fresh, "")
    started = anyone.sys.start_root_token_generation()
    assert started["started"] is True and started["required"] == 2 and started["progress"] == 0
    one_time_pad, nonce = started["otp"], started["nonce"]
    assert len(one_time_pad) == started["otp_length"]
    assert anyone.sys.read_root_generation_progress()["nonce"] == nonce
    assert anyone.sys.cancel_root_generation()
    assert anyone.sys.read_root_generation_progress()["started"] is False
    started = anyone.sys.start_root_token_generation()
    one_time_pad, nonce = started["otp"], started["nonce"]
    refused(exceptions.InvalidRequest, lambda: anyone.sys.generate_root(fresh.shares[0], "wrong"))
    assert anyone.sys.generate_root(fresh.shares[0], nonce)["complete"] is False
    done = anyone.sys.generate_root(fresh.shares[2], nonce)
    assert done["complete"] is True
    encoded = done["encoded_token"]
    encrypted = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    token = bytes(a ^ b for a, b in zip(encrypted, one_time_pad.encode(), strict=True)).decode()
    made = hvac_client(fresh, token).auth.token.lookup_self()["data"]
    assert made["policies"] == ["root"] and made["ttl"] == 0
    assert token != fresh.root_token


def test_rotation_keeps_everything_readable(fresh):
    fresh.ready()
    client = hvac_client(fresh)
    client.sys.enable_secrets_engine("kv", path="kv", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret("old", {"v": "1"}, mount_point="kv")
    before = fresh.http().get("sys/key-status").data
    assert before["term"] == 1 and before["install_time"] and before["encryptions"] >= 0
    client.sys.rotate_encryption_key()
    assert fresh.http().get("sys/key-status").data["term"] == 2
    client.secrets.kv.v1.create_or_update_secret("new", {"v": "2"}, mount_point="kv")
    client.sys.seal()
    fresh.unseal()
    assert client.secrets.kv.v1.read_secret("old", mount_point="kv")["data"] == {"v": "1"}
    assert client.secrets.kv.v1.read_secret("new", mount_point="kv")["data"] == {"v": "2"}


def test_new_key_shares_and_a_root_token_from_them(fresh):
    made = hvac_client(fresh, "").sys.initialize(secret_shares=3, secret_threshold=2)
    client = hvac_client(fresh, made["root_token"])
    client.sys.submit_unseal_keys(made["keys"][:2])

    begun = client.sys.start_rekey(secret_shares=5, secret_threshold=3, require_verification=True)
    assert (begun["started"], begun["n"], begun["t"], begun["required"]) == (True, 5, 3, 2)
    refused(exceptions.InvalidRequest, lambda: client.sys.start_rekey(1, 1), "rekey already in progress")
    assert client.sys.rekey(made["keys"][0], begun["nonce"])["progress"] == 1
    assert client.sys.read_rekey_progress()["progress"] == 1
    new = client.sys.rekey(made["keys"][2], begun["nonce"])
    assert new["complete"] is True and len(new["keys"]) == 5
    assert [base64.b64decode(k).hex() for k in new["keys_base64"]] == new["keys"]
    for share in new["keys"][:3]:
        told = client.sys.rekey_verify(share, new["verification_nonce"])
    assert told["complete"] is True
    assert client.sys.read_rekey_progress()["started"] is False
    client.sys.start_rekey(secret_shares=1, secret_threshold=1)
    client.sys.cancel_rekey()
    assert client.sys.read_rekey_progress()["started"] is False

    client.sys.seal()
    assert client.sys.submit_unseal_keys(new["keys"][1:4])["sealed"] is False

    begun = client.sys.start_root_token_generation()
    assert begun["started"] is True and len(begun["otp"]) == begun["otp_length"] == 28
    for share in new["keys"][2:]:
        told = client.sys.generate_root(share, begun["nonce"])
    assert told["complete"] is True
    padded = told["encoded_root_token"] + "=" * (-len(told["encoded_root_token"]) % 4)
    token = bytes(a ^ b for a, b in zip(base64.b64decode(padded), begun["otp"].encode())).decode()
    assert hvac_client(fresh, token).auth.token.lookup_self()["data"]["policies"] == ["root"]
    client.sys.start_root_token_generation()
    client.sys.cancel_root_generation()
    assert client.sys.read_root_generation_progress()["started"] is False
    # A stranger can neither begin nor cancel.
    stranger = fresh.http(token="")
    for path in ("sys/rekey/init", "sys/generate-root/attempt"):
        for method in ("GET", "PUT", "DELETE"):
            assert stranger.request(method, path, {} if method == "PUT" else None).status == 403, (method, path)
