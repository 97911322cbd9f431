"""Several servers as one cluster."""

import time

import server as harness

#: How long an election, a catching up or a joining may take.
SETTLE_LIMIT_S = 30
#: No time of good health is asked of a node before it is given its vote.
VOTE_AT_ONCE = {"server_stabilization_time": "0s"}


class Cluster:
    """Nodes of one cluster: the first is initialised, the others join it."""

    node_class = harness.Server

    def __init__(self, size=3, binary=None, shares=1, threshold=1, autopilot=None, **options):
        """`autopilot` is what it is configured with; unless told otherwise, nodes vote as soon as they keep up."""
        self.nodes = []
        self.binary, self.options = binary, options
        first = self._add()
        first.start().init(shares, threshold).unseal()
        self.configure_autopilot(first, autopilot or VOTE_AT_ONCE)
        for _ in range(size - 1):
            self.join(self._add().start())
        self.wait_voters(size)
        # A node is told of as a voter while the old voters must still agree, too: one that dies then takes the quorum of two with
        # it. Writes behind that are committed once it is over.
        for number in range(2 if size > 1 else 0):
            first.http().expect(204, "POST", "cubbyhole/settled", {"number": number})

    @staticmethod
    def configure_autopilot(node, config):
        node.http().expect(204, "POST", "sys/storage/raft/autopilot/configuration", config)

    def _add(self):
        name = f"node{len(self.nodes) + 1}"
        node = self.node_class.temporary(self.binary, prefix=f"strongroom-{name}-", node_id=name, **self.options)
        self.nodes.append(node)
        return node

    def join(self, node, through=None):
        """Has `node`, which is started and belongs to no cluster, join; unseals it."""
        first = self.nodes[0]
        body = {"leader_api_addr": (through or first).address}
        if first.ca_file:
            body["leader_ca_cert"] = first.ca_file.read_text()
        node.http(token="").expect(200, "POST", "sys/storage/raft/join", body)
        node.shares, node.threshold, node.root_token = first.shares, first.threshold, first.root_token
        self.unseal(node)

    def unseal(self, node):
        for share in node.shares[: node.threshold]:
            node.http(token="").expect(200, "PUT", "sys/unseal", {"key": share})

    def running(self):
        return [node for node in self.nodes if node.is_running()]

    def leader(self, among=None):
        """The active node; waits for one."""
        return wait_for("an active node", lambda: next(
            (node for node in among or self.running() if status(node, "sys/health") == 200), None))

    def standbys(self):
        leader = self.leader()
        return [node for node in self.running() if node is not leader]

    def peers(self, node=None):
        reply = (node or self.leader()).http().expect(200, "GET", "sys/storage/raft/configuration")
        return reply.data["config"]["servers"]

    def wait_voters(self, count):
        wait_for(f"{count} voters", lambda: sum(peer["voter"] for peer in self.peers()) == count)

    def remove(self):
        for node in self.nodes:
            if node.is_running():
                node.kill()
            node.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def status(node, path):
    """The status of an answer; None where there is none."""
    try:
        connection = node.http(token="", timeout_s=5)
        found = connection.get(path).status
        connection.close()
        return found
    except (OSError, harness.http.client.HTTPException):
        return None


def wait_for(what, find, limit_s=SETTLE_LIMIT_S):
    """Asks until the answer is true, and answers it."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        found = find()
        if found:
            return found
        time.sleep(0.02)
    raise harness.ServerError(f"no {what} within {limit_s} s")
