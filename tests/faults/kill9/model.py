"""What must be so, by what the server acknowledged; and how it is asked."""

import http.client
import threading
from dataclasses import dataclass, field

KEYS_PER_WRITER = 4
SHARED_KEYS = 4
#: How many versions of a secret the engine keeps (its own default).
KEPT_VERSIONS = 10
#: What the limited secret ids are made for.
SECRET_ID_USES = 6

WRITERS_POLICY = """
path "kv/*" { capabilities = ["create", "read", "update"] }
path "auth/token/*" { capabilities = ["create", "update"] }
path "auth/approle/*" { capabilities = ["create", "read", "update"] }
"""


class Answer:
    """What came back; status 0 means that nothing whole did."""

    def __init__(self, request, status=0, body=None, raw=""):
        self.request, self.status, self.body, self.raw = request, status, body or {}, raw

    @property
    def acknowledged(self):
        """The server said that it is done."""
        return 200 <= self.status < 300

    @property
    def open(self):
        """What the request did is not known."""
        return self.status == 0 or self.status >= 500

    def failure(self):
        return f"{self.request}: status {self.status}: {self.raw.strip()}"

    def at(self, *keys):
        """Follows keys into the body; None where the way ends."""
        here = self.body
        for key in keys:
            here = here.get(key) if isinstance(here, dict) else None
        return here


def ask(connection, method, path, body=None, token=None):
    """Sends one request, once. A network error, or an answer that breaks off, is an answer with status 0."""
    request = f"{method} {path}"
    try:
        reply = connection.request(method, path, body, token=token)
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        return Answer(request, raw=f"{type(error).__name__}: {error}")
    if reply.text and reply.json is None:
        return Answer(request, raw=f"not JSON: {reply.text}")
    return Answer(request, reply.status, reply.json, reply.text)


@dataclass
class Secret:
    """One KV version 2 key. Several writers may try to write a shared one at once."""

    path: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: The newest version that was acknowledged or found.
    current: int = 0
    #: What stands in each version; writes without an answer, as (version if it succeeded, value).
    written: dict = field(default_factory=dict)
    open: list = field(default_factory=list)

    def forget(self):
        """Drops versions that the engine no longer keeps."""
        self.written = {version: value for version, value in self.written.items() if version > self.current - KEPT_VERSIONS}


@dataclass(eq=False)
class Token:
    """One that a writer created. `name` is in its metadata, so that it is known when found without its id."""

    id: str
    accessor: str
    name: str
    children: list = field(default_factory=list)
    #: A revocation without an answer is under way.
    revoking: bool = False

    def family(self):
        """The token and all that were created under it."""
        return [self, *(one for child in self.children for one in child.family())]


@dataclass(eq=False)
class SecretId:
    """One of the AppRole's. The tokens of its logins carry its name."""

    id: str
    accessor: str
    name: str
    #: What it was created for; 0 is without limit.
    uses: int
    #: Logins acknowledged or found, and those without an answer.
    logins: int = 0
    open_logins: int = 0
    destroying: bool = False


class Model:
    """Everything that was acknowledged or is under way, and those who write."""

    def __init__(self, server, options, writer_class):
        """Mounts, writes policies and makes the writers."""
        self.options, self.server = options, server
        self.lock = threading.Lock()
        self.secrets, self.writers, self.revoked = [], [], []
        #: Writers of what the writers' tokens have no part in.
        self.others = []
        self.open_tokens, self.open_secret_ids = set(), set()
        #: Acknowledged requests of the round, to be found in the audit file, and how far that was read.
        self.requests, self.audit_offset = set(), 0
        self.findings = []
        self.counts = dict.fromkeys(("acknowledged", "open", "landed", "tokens", "leases", "leftovers"), 0)
        root = server.http()
        root.expect(204, "POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        root.expect(204, "POST", "sys/auth/approle", {"type": "approle"})
        root.expect(204, "POST", "sys/policies/acl/writer", {"policy": WRITERS_POLICY})
        root.expect(204, "POST", "auth/approle/role/app", {"token_policies": "default", "token_ttl": "24h"})
        self.role_id = root.expect(200, "GET", "auth/approle/role/app/role-id").data["role_id"]
        self.shared = [Secret(f"shared/{number}") for number in range(SHARED_KEYS)]
        self.secrets += self.shared
        for number in range(options.writers):
            made = root.expect(200, "POST", "auth/token/create", {"policies": ["writer"], "ttl": "24h", "meta": {"name": "writer"}})
            own = [Secret(f"own/{number}/{key}") for key in range(KEYS_PER_WRITER)]
            self.secrets += own
            self.writers.append(writer_class(number, self, server.http(made.json["auth"]["client_token"], 30), own))
        root.close()

    def noted(self, answer):
        """Counts an answer and remembers an acknowledged request's id."""
        with self.lock:
            if answer.acknowledged:
                self.counts["acknowledged"] += 1
                if request := answer.at("request_id"):
                    self.requests.add(request)
            elif answer.open:
                self.counts["open"] += 1
        return answer

    def landed(self):
        """Counts a request that was cut off and had taken effect."""
        with self.lock:
            self.counts["landed"] += 1

    def broken(self, text):
        """Notes what is not as it must be; the round fails with it."""
        with self.lock:
            self.findings.append(text)

    def begun(self, names, name):
        with self.lock:
            names.add(name)

    def ended(self, names, name):
        with self.lock:
            names.discard(name)

    def gone(self, token):
        """Notes a revocation that must hold."""
        with self.lock:
            self.revoked += token.family()

    def raise_trouble(self):
        """A writer that broke is a fault of this test."""
        for writer in [*self.writers, *self.others]:
            if writer.trouble:
                raise writer.trouble

    def live_tokens(self):
        """Those that must be there, by accessor; those whose revocation is under way among them."""
        return {one.accessor: one for writer in self.writers for token in writer.tokens for one in token.family()}

    def live_secret_ids(self):
        return {one.accessor: one for writer in self.writers for one in writer.secret_ids}

    def told(self):
        """Counts for the person who watches."""
        counts = self.counts
        text = (f"{counts['acknowledged']} requests acknowledged, {counts['open']} cut off of which {counts['landed']} had taken effect; "
                f"now {counts['tokens']} live tokens, {counts['leases']} leases")
        return text + (f", {counts['leftovers']} accessors or leases without a token" if counts["leftovers"] else "")
