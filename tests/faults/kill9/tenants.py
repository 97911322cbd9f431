"""Namespaces that come and go, mounts that move between them, and entities that are merged: nothing of it may be half done."""

import time
from dataclasses import dataclass, field

from load import Over, Writer
from model import ask
from verify import Broken

#: Namespaces that are kept from round to round, and of those deleted, how many are tried again.
KEPT, TRIED = 6, 20
#: How long a move that was cut off may take to come to its end.
MOVE_S = 20


@dataclass(eq=False)
class Secret:
    """One in a KV mount of its own, which moves."""

    value: str
    #: Path of the mount, and the one that it is being moved to.
    place: str
    going: str | None = None
    migration: str | None = None


@dataclass(eq=False)
class Tenant:
    """A namespace."""

    name: str
    made: bool = False
    deleting: bool = False
    secrets: list = field(default_factory=list)


@dataclass(eq=False)
class Merge:
    """An entity merged into another; a group has the one as its member, and then the other."""

    from_id: str
    to_id: str
    group: str
    acknowledged: bool = False


class TenantWriter(Writer):
    """One request after the other, with the root token."""

    def __init__(self, model, connection):
        super().__init__(0, model, connection, [])
        self.tenants, self.gone, self.merges = [], [], []
        self.operations = [(4, self.create), (2, self.delete), (4, self.move), (3, self.merge)]

    def done(self, method, path, body=None):
        """Asks; raises where nobody knows what came of it, and where it is refused."""
        answer = self.model.noted(ask(self.connection, method, path, body))
        if answer.open:
            raise Over
        if not answer.acknowledged:
            self.unexpected(answer)
        return answer

    def create(self, name):
        tenant = Tenant(f"t-{name}")
        self.tenants.append(tenant)
        self.done("POST", f"sys/namespaces/{tenant.name}", {})
        tenant.made = True
        self.done("POST", f"{tenant.name}/sys/mounts/kv", {"type": "kv"})
        self.done("POST", f"{tenant.name}/kv/secret", {"value": name})
        tenant.secrets.append(Secret(name, f"{tenant.name}/kv"))

    def delete(self, _name):
        if len(self.tenants) < 3:
            return
        tenant = self.rng.choice(self.tenants)
        tenant.deleting = True
        self.done("DELETE", f"sys/namespaces/{tenant.name}")
        self.tenants.remove(tenant)
        self.gone.append(tenant)

    def move(self, name):
        sources = [tenant for tenant in self.tenants if tenant.secrets]
        if not sources or len(self.tenants) < 2:
            return
        source = self.rng.choice(sources)
        target = self.rng.choice([tenant for tenant in self.tenants if tenant is not source])
        secret = self.rng.choice(source.secrets)
        secret.going, secret.migration = f"{target.name}/m-{name}", None
        answer = self.done("POST", "sys/remount", {"from": secret.place, "to": secret.going})
        secret.migration = answer.at("migration_id")
        while True:
            status = self.done("GET", f"sys/remount/status/{secret.migration}").at("data", "migration_info", "status")
            if status != "in-progress":
                break
            time.sleep(0.005)
        if status != "success":
            self.model.broken(f"the move from {secret.place} to {secret.going} ended in {status}")
            raise Over
        arrive(self, secret)

    def merge(self, name):
        from_id = self.done("POST", "identity/entity", {"name": f"from-{name}"}).at("data", "id")
        to_id = self.done("POST", "identity/entity", {"name": f"to-{name}"}).at("data", "id")
        group = self.done("POST", "identity/group", {"name": f"group-{name}", "member_entity_ids": [from_id]}).at("data", "id")
        merge = Merge(from_id, to_id, group)
        self.merges.append(merge)
        self.done("POST", "identity/entity/merge", {"from_entity_ids": [from_id], "to_entity_id": to_id})
        merge.acknowledged = True


def arrive(writer, secret):
    """Notes that a mount has moved."""
    for tenant in writer.tenants:
        if secret in tenant.secrets:
            tenant.secrets.remove(secret)
    secret.place, secret.going = secret.going, None
    for tenant in writer.tenants:
        if secret.place.startswith(f"{tenant.name}/"):
            tenant.secrets.append(secret)


def verify_tenants(writer, server):
    """Compares all of it with what was acknowledged."""
    http = server.http(timeout_s=30)

    def look(method, path, body=None):
        answer = ask(http, method, path, body)
        if answer.open and answer.status != 503:
            raise Broken(answer.failure())
        return answer

    try:
        for tenant in list(writer.tenants):
            settle_tenant(writer, look, tenant)
        for tenant in writer.tenants:
            for secret in list(tenant.secrets):
                settle_secret(writer, look, secret)
        for tenant in writer.gone[-TRIED:]:
            gone(look, tenant)
        for merge in writer.merges:
            settle_merge(look, merge)
        writer.merges.clear()
        for tenant in writer.tenants[:-KEPT]:
            expect(look("DELETE", f"sys/namespaces/{tenant.name}"))
            writer.gone.append(tenant)
        del writer.tenants[:-KEPT]
    finally:
        http.close()


def expect(answer):
    if not answer.acknowledged:
        raise Broken(answer.failure())
    return answer


def settle_tenant(writer, look, tenant):
    """A namespace whose making or deleting was cut off is there or not."""
    there = look("GET", f"sys/namespaces/{tenant.name}").status == 200
    if tenant.made and not tenant.deleting:
        if not there:
            raise Broken(f"the namespace {tenant.name} is lost")
        if tenant.secrets:
            return
    if there and tenant.made and tenant.secrets:
        tenant.deleting = False
        return
    writer.tenants.remove(tenant)
    if not there:
        writer.gone.append(tenant)
        return
    # One that is not whole serves no further round.
    if not any(secret.going and secret.going.startswith(f"{tenant.name}/") for other in writer.tenants for secret in other.secrets):
        expect(look("DELETE", f"sys/namespaces/{tenant.name}"))
        writer.gone.append(tenant)
    else:
        writer.tenants.append(tenant)


def settle_secret(writer, look, secret):
    """A mount is at one of both places, with what it keeps; a move that had begun comes to its end."""
    end = time.monotonic() + MOVE_S
    while secret.going:
        here, there = look("GET", f"{secret.place}/secret"), look("GET", f"{secret.going}/secret")
        if here.status == 200 and not secret.migration:
            secret.going = None
        elif there.status == 200:
            arrive(writer, secret)
        elif time.monotonic() > end:
            raise Broken(f"a move does not end: {here.failure()}; {there.failure()}")
        else:
            time.sleep(0.02)
    answer = look("GET", f"{secret.place}/secret")
    if answer.status != 200 or answer.at("data", "value") != secret.value:
        raise Broken(f"a secret is lost: {answer.failure()}")


def gone(look, tenant):
    for path in (f"sys/namespaces/{tenant.name}", f"{tenant.name}/kv/secret"):
        if (answer := look("GET", path)).status != 404:
            raise Broken(f"of a namespace that was deleted: {answer.failure()}")


def settle_merge(look, merge):
    """An entity is merged with its memberships, or not at all."""
    members = expect(look("GET", f"identity/group/id/{merge.group}")).at("data", "member_entity_ids")
    ids = expect(look("LIST", "identity/entity/id")).at("data", "keys")
    merged = merge.from_id not in ids
    if merge.to_id not in ids or members != [merge.to_id if merged else merge.from_id] or (merge.acknowledged and not merged):
        raise Broken(f"a merge is half done or lost: {merge}, members {members}, merged {merged}")
    expect(look("POST", "identity/entity/batch-delete", {"entity_ids": [merge.from_id, merge.to_id]}))
    expect(look("DELETE", f"identity/group/id/{merge.group}"))
