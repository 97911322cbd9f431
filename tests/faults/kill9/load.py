"""The writers: one request after another until the server is gone, each noted before it is sent and after it is answered."""

from model import SECRET_ID_USES, SecretId, Token, ask


class Over(Exception):
    """The server is gone, or has answered what it must not: the writer stops."""


class Writer:
    """Works with things of its own, and with the shared secrets."""

    def __init__(self, number, model, connection, own):
        self.number, self.model, self.connection, self.own = number, model, connection, own
        self.tokens, self.secret_ids = [], []
        self.rng, self.serial, self.trouble = None, 0, None
        self.operations = [
            (30, lambda name: self.write(self.rng.choice(self.own), name)),
            (15, lambda name: self.write(self.rng.choice(self.model.shared), name)),
            (15, self.create_token),
            (8, self.create_child),
            (10, self.revoke),
            (8, self.create_secret_id),
            (12, self.login),
            (4, self.destroy_secret_id),
        ]

    def work(self, round_):
        weights = [weight for weight, _ in self.operations]
        try:
            while True:
                self.serial += 1
                ((_, operation),) = self.rng.choices(self.operations, weights)
                operation(f"{round_}-{self.number}-{self.serial}")
        except Over:
            pass
        except Exception as error:  # noqa: BLE001 - told by the round, which fails
            self.trouble = error
        finally:
            self.connection.close()

    def send(self, path, body, token=None):
        """Posts; raises where nobody knows what came of it."""
        answer = self.model.noted(ask(self.connection, "POST", path, body, token))
        if answer.open:
            raise Over
        return answer

    def unexpected(self, answer):
        """A refusal that no rule of the load explains: something acknowledged is missing already."""
        self.model.broken(f"refused under load: {answer.failure()}")
        raise Over

    def write(self, secret, name):
        """Stores a value of a secret over the version that the writer believes current."""
        with secret.lock:
            based = secret.current
            tried = (based + 1, name + "x" * self.rng.randrange(2000))
            secret.open.append(tried)
        answer = self.send(f"kv/data/{secret.path}", {"data": {"value": tried[1]}, "options": {"cas": based}})
        with secret.lock:
            secret.open.remove(tried)
            if answer.acknowledged:
                version, value = tried
                if version in secret.written or answer.at("data", "version") != version:
                    other = secret.written.get(version)
                    self.model.broken(f"{secret.path}: two writes were acknowledged as version {version}: {other!r} and {value!r} ({answer.raw})")
                    raise Over
                secret.written[version] = value
                secret.current = max(secret.current, version)
                secret.forget()
                return
        if answer.status == 400 and "check-and-set" in answer.raw and secret.path.startswith("shared/"):
            return
        self.unexpected(answer)

    def create_token(self, name):
        self.tokens.append(self.new_token(name))

    def new_token(self, name, under=None):
        """Creates a token under the writer's, or another."""
        self.model.begun(self.model.open_tokens, name)
        # The children are given the right to be parents as well.
        answer = self.send("auth/token/create", {"ttl": "24h", "meta": {"name": name}, "policies": ["writer"]}, under)
        self.model.ended(self.model.open_tokens, name)
        if not answer.acknowledged:
            self.unexpected(answer)
        return Token(answer.at("auth", "client_token"), answer.at("auth", "accessor"), name)

    def create_child(self, name):
        if not self.tokens:
            return
        parent = self.rng.choice(self.tokens)
        family = parent.family()
        if len(family) < 5:
            parent = self.rng.choice(family)
        if parent.name != "login":
            parent.children.append(self.new_token(name, parent.id))

    def revoke(self, _name):
        """Revokes one of the writer's tokens, and with it its children."""
        if not self.tokens:
            return
        chosen = self.rng.choice(self.tokens)
        for one in chosen.family():
            one.revoking = True
        answer = self.send("auth/token/revoke", {"token": chosen.id})
        if not answer.acknowledged:
            self.unexpected(answer)
        self.tokens.remove(chosen)
        self.model.gone(chosen)

    def create_secret_id(self, name):
        uses = self.rng.choice((0, SECRET_ID_USES))
        self.model.begun(self.model.open_secret_ids, name)
        answer = self.send("auth/approle/role/app/secret-id", {"metadata": f'{{"name":"{name}"}}', "num_uses": uses})
        self.model.ended(self.model.open_secret_ids, name)
        if not answer.acknowledged:
            self.unexpected(answer)
        self.secret_ids.append(SecretId(answer.at("data", "secret_id"), answer.at("data", "secret_id_accessor"), name, uses))

    def login(self, _name):
        """Takes one use of a secret id and makes one token."""
        if not self.secret_ids:
            return
        chosen = self.rng.choice(self.secret_ids)
        chosen.open_logins += 1
        answer = self.send("auth/approle/login", {"role_id": self.model.role_id, "secret_id": chosen.id}, token="")
        chosen.open_logins -= 1
        if not answer.acknowledged:
            self.unexpected(answer)
        chosen.logins += 1
        self.tokens.append(Token(answer.at("auth", "client_token"), answer.at("auth", "accessor"), "login"))
        if chosen.logins == chosen.uses:
            self.secret_ids.remove(chosen)

    def destroy_secret_id(self, _name):
        if not self.secret_ids:
            return
        chosen = self.rng.choice(self.secret_ids)
        chosen.destroying = True
        answer = self.send("auth/approle/role/app/secret-id/destroy", {"secret_id": chosen.id})
        if not answer.acknowledged:
            self.unexpected(answer)
        self.secret_ids.remove(chosen)
