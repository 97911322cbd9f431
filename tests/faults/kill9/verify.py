"""Reads everything back and compares it with what was acknowledged."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

from model import KEPT_VERSIONS, ask

#: Readers side by side.
READERS = 12
#: Of the tokens whose revocation was acknowledged, so many of the newest, and so many of the older ones, are tried each round.
NEWEST_REVOKED, OLD_REVOKED = 200, 50


class Broken(Exception):
    """Something is not as it must be."""


class Readers:
    """Threads that ask with the root token, each over a connection of its own."""

    def __init__(self, server):
        self.server, self.local, self.connections = server, threading.local(), []
        self.pool = ThreadPoolExecutor(READERS)

    def ask(self, method, path, body=None, token=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.server.http(timeout_s=30)
            self.connections.append(self.local.connection)
        return ask(self.local.connection, method, path, body, token)

    def each(self, items, look):
        """Calls `look` for every item, some at a time; the first error is raised."""
        return list(self.pool.map(look, items))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        for connection in self.connections:
            connection.close()


def verify(model, server):
    """Holds the server against the model; raises what is wrong."""
    with Readers(server) as readers:
        for check in (verify_audit, verify_secrets, verify_tokens, verify_secret_ids, verify_some_revoked, trim):
            try:
                check(model, readers)
            except Broken as error:
                model.broken(str(error))
            if model.findings:
                raise Broken("\n  ".join(model.findings[:20]))


def listed(answer):
    """The keys of a list, which is empty where there is none."""
    if answer.status not in (200, 404):
        raise Broken(answer.failure())
    return answer.at("data", "keys") or []


def verify_audit(model, readers):
    """Looks for the answer to each acknowledged request in what the audit file grew by."""
    torn = 0
    with readers.server.audit_file.open("rb") as file:
        file.seek(model.audit_offset)
        for line in file:
            # A last line without its end is what the kill broke off, or what is being written now.
            if not line.endswith(b"\n"):
                break
            model.audit_offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                torn += 1
                continue
            if record.get("type") == "response":
                model.requests.discard(record.get("request", {}).get("id"))
    # One kill can break off one line, which the restarted server's first one then follows.
    if torn > 1:
        model.broken(f"the audit file has {torn} lines that are no JSON")
    if model.requests:
        model.broken(f"acknowledged, and not in the audit file: request {min(model.requests)} (one of {len(model.requests)})")
    model.requests.clear()


def verify_secrets(model, readers):
    readers.each(model.secrets, lambda secret: verify_secret(model, readers, secret))


def verify_secret(model, readers, secret):
    """Compares a secret's versions with what was written."""
    metadata = readers.ask("GET", f"kv/metadata/{secret.path}")
    if metadata.status not in (200, 404):
        raise Broken(metadata.failure())
    found = metadata.at("data", "current_version") or 0
    if found < secret.current:
        raise Broken(f"{secret.path}: version {secret.current} was acknowledged, the newest is {found}")
    newest = max(map(int, metadata.at("data", "versions") or {}), default=0)
    if newest != found:
        raise Broken(f"{secret.path}: the metadata says version {found} and lists {newest}")
    for version in range(max(1, found - KEPT_VERSIONS + 1), found + 1):
        verify_version(model, readers, secret, version)
    above = readers.ask("GET", f"kv/data/{secret.path}?version={found + 1}")
    if above.status != 404:
        raise Broken(f"{secret.path}: version {found + 1} is there and not in the metadata: {above.raw}")
    secret.current, secret.open = found, []
    secret.forget()


def verify_version(model, readers, secret, version):
    read = readers.ask("GET", f"kv/data/{secret.path}?version={version}")
    value = read.at("data", "data", "value")
    if read.status != 200 or read.at("data", "metadata", "version") != version:
        raise Broken(read.failure())
    if version in secret.written:
        if secret.written[version] != value:
            raise Broken(f"{secret.path} version {version}: acknowledged as {secret.written[version]:.40}, reads as {value!r:.40}")
        return
    # Nobody was told of this version: it must be a write that was cut off, on top of the version it was based on.
    if (version, value) not in secret.open:
        raise Broken(f"{secret.path} version {version} reads as {value!r:.40}, which nobody tried to write there")
    secret.written[version] = value
    model.landed()


def verify_tokens(model, readers):
    """Compares the accessors, tokens and leases with each other and with the model."""
    accessors = readers.ask("LIST", "auth/token/accessors")
    if accessors.status != 200:
        raise Broken(accessors.failure())

    def look(accessor):
        looked = readers.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        if model.options.lenient and looked.status == 403:
            return None
        if looked.status != 200 or looked.at("data", "accessor") != accessor:
            raise Broken(f"an accessor without a token: {looked.failure()}")
        return accessor, (looked.at("data", "meta") or {}).get("name", ""), looked.at("data", "path")

    looked_up = readers.each(listed(accessors), look)
    found = [one for one in looked_up if one]
    model.counts["tokens"], model.counts["leftovers"] = len(found), len(looked_up) - len(found)
    verify_leases(model, readers, found)
    compare_tokens(model, readers, found)


def verify_leases(model, readers, found):
    """Counts leases and tokens by the path that made them: as many of the one as of the other."""
    model.counts["leases"] = 0
    for path in ("auth/token/create", "auth/approle/login"):
        tokens = sum(made_by == path for _, _, made_by in found)
        leases = listed(readers.ask("LIST", f"sys/leases/lookup/{path}"))
        model.counts["leases"] += len(leases)
        if model.options.lenient:
            model.counts["leftovers"] += abs(len(leases) - tokens)
            continue
        if len(leases) != tokens:
            raise Broken(f"{len(leases)} leases under {path}, and {tokens} tokens from there")

        def look(id_, path=path):
            lease = readers.ask("PUT", "sys/leases/lookup", {"lease_id": f"{path}/{id_}"})
            if lease.status != 200:
                raise Broken(lease.failure())

        readers.each(leases, look)


def compare_tokens(model, readers, found):
    """Explains every token that is there and finds every one that must be."""
    live, there = model.live_tokens(), {accessor for accessor, _, _ in found}
    secret_ids = {one.name: one for one in model.live_secret_ids().values()}
    revoked = {token.accessor for token in model.revoked}
    for accessor, name, path in found:
        if accessor in live or name == "writer" or path == "auth/token/root":
            continue
        if not explain_stranger(model, secret_ids.get(name), revoked, (accessor, name, path)):
            continue
        model.landed()
        gone = readers.ask("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        if not gone.acknowledged and not model.options.lenient:
            raise Broken(gone.failure())
    model.open_tokens.clear()
    expected = []
    for writer in model.writers:
        writer.tokens = [token for token in writer.tokens if not settle(model, readers, token, there)]
        expected += [one for token in writer.tokens for one in token.family()]

    def works(token):
        looked = readers.ask("GET", "auth/token/lookup-self", token=token.id)
        if looked.status != 200 or looked.at("data", "accessor") != token.accessor:
            raise Broken(f"an acknowledged token does not work: {looked.failure()}")

    readers.each(expected, works)


def explain_stranger(model, secret_id, revoked, stranger):
    """Tells whether a token that nobody was told of is of a request that was cut off."""
    accessor, name, path = stranger
    if path == "auth/token/create" and name in model.open_tokens:
        # At most one token for one attempt.
        model.open_tokens.remove(name)
    elif path == "auth/approle/login" and secret_id and secret_id.open_logins > 0:
        secret_id.open_logins -= 1
        secret_id.logins += 1
    elif accessor not in revoked:
        model.broken(f"a token nobody asked for: {stranger}")
        return False
    elif model.options.lenient:
        # Vault and OpenBao finish a revocation in the background; verify_revoked tries whether it holds.
        model.counts["leftovers"] += 1
        return False
    else:
        model.broken(f"a revoked token is there again: {stranger}")
        return False
    return True


def settle(model, readers, token, there):
    """Decides about a token whose revocation was cut off: wholly gone (True), or wholly there."""
    family = token.family()
    present = [one for one in family if one.accessor in there]
    some = f"{len(present)} of the {len(family)} in the family of {token.name} are there"
    if not token.revoking:
        if len(present) < len(family):
            model.broken(f"an acknowledged token is lost: {some}")
        return False
    if model.options.lenient:
        # What a server without transactions may have half revoked is revoked again.
        for one in present:
            if not (gone := readers.ask("POST", "auth/token/revoke", {"token": one.id})).acknowledged:
                model.broken(gone.failure())
        model.gone(token)
        return True
    if len(present) == len(family):
        for one in family:
            one.revoking = False
        return False
    if present:
        model.broken(f"a revocation is half done: {some}")
        return False
    model.landed()
    model.gone(token)
    return True


def verify_secret_ids(model, readers):
    """Compares the secret ids that the role lists with the model, and the uses they have left."""
    there, live = set(listed(readers.ask("LIST", "auth/approle/role/app/secret-id"))), model.live_secret_ids()
    for accessor in there - set(live):
        about = {"secret_id_accessor": accessor}
        looked = readers.ask("POST", "auth/approle/role/app/secret-id-accessor/lookup", about)
        name = (looked.at("data", "metadata") or {}).get("name")
        if looked.status != 200 or name not in model.open_secret_ids:
            raise Broken(f"a secret id nobody asked for, or one that was used up or destroyed: {looked.failure()}")
        model.open_secret_ids.remove(name)
        model.landed()
        gone = readers.ask("POST", "auth/approle/role/app/secret-id-accessor/destroy", about)
        if not gone.acknowledged:
            raise Broken(gone.failure())
    model.open_secret_ids.clear()
    for writer in model.writers:
        writer.secret_ids = [one for one in writer.secret_ids if not settle_secret_id(model, readers, one, one.accessor in there)]


def settle_secret_id(model, readers, secret_id, there):
    """Checks one secret id, and tells whether it is gone, and rightly so."""
    lenient, limited = model.options.lenient, secret_id.uses > 0
    if not there:
        used_up = limited and secret_id.logins == secret_id.uses
        # Without transactions the last use may be taken and its token not be there.
        perhaps = lenient and limited and secret_id.logins + secret_id.open_logins >= secret_id.uses
        if not secret_id.destroying and not used_up and not perhaps:
            model.broken(f"an acknowledged secret id is lost: {secret_id.name}")
        if secret_id.destroying:
            model.landed()
        return True
    looked = readers.ask("POST", "auth/approle/role/app/secret-id/lookup", {"secret_id": secret_id.id})
    if looked.status != 200 or looked.at("data", "secret_id_accessor") != secret_id.accessor:
        model.broken(f"a listed secret id cannot be looked up: {looked.failure()}")
        return True
    if limited:
        left, expected = looked.at("data", "secret_id_num_uses"), secret_id.uses - secret_id.logins
        # Without transactions a login that was cut off may have taken a use and made no token.
        if left != expected and not (lenient and expected - secret_id.open_logins <= left < expected):
            model.broken(f"secret id {secret_id.name}: made for {secret_id.uses} uses, {secret_id.logins} logins made a token, {left} uses are left")
        secret_id.logins = secret_id.uses - left
    secret_id.open_logins, secret_id.destroying = 0, False
    return False


def verify_some_revoked(model, readers):
    """Tries the newest tokens whose revocation was acknowledged, and some old ones."""
    tried = model.revoked
    if len(tried) > NEWEST_REVOKED + OLD_REVOKED:
        tried = tried[-NEWEST_REVOKED:] + random.choices(tried, k=OLD_REVOKED)
    refused(readers, tried)


def verify_all_revoked(model, server):
    """Tries all of them, at the end of a run."""
    with Readers(server) as readers:
        refused(readers, model.revoked)


def refused(readers, tokens):
    def look(token):
        looked = readers.ask("GET", "auth/token/lookup-self", token=token.id)
        if looked.status != 403:
            raise Broken(f"a revoked token ({token.name}) still works: {looked.raw}")

    readers.each(tokens, look)


def trim(model, readers):
    """Revokes and destroys what is more than the next rounds need, so that a check stays short."""
    each = max(1, model.options.live // len(model.writers))

    def trim_one(writer):
        total = sum(len(token.family()) for token in writer.tokens)
        while total > each and writer.tokens:
            token = writer.tokens[0]
            gone = readers.ask("POST", "auth/token/revoke", {"token": token.id})
            if not gone.acknowledged:
                raise Broken(gone.failure())
            total -= len(token.family())
            model.gone(writer.tokens.pop(0))
        while len(writer.secret_ids) > each:
            gone = readers.ask("POST", "auth/approle/role/app/secret-id/destroy", {"secret_id": writer.secret_ids[0].id})
            if not gone.acknowledged:
                raise Broken(gone.failure())
            writer.secret_ids.pop(0)

    readers.each(model.writers, trim_one)
