"""The nodes under test: real processes, some on small disks, and where each of them stands."""

import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "harness"))
import clocks  # noqa: E402
import server as harness  # noqa: E402
from cluster import VOTE_AT_ONCE, Cluster, wait_for  # noqa: E402
from databases import Etcd, Postgresql  # noqa: E402, F401

DISK_BYTES = 128 << 20
#: How long a cluster without any fault may take until all nodes serve and have all data.
SETTLE_LIMIT_S = 30
MIB = 1 << 20


class Node(clocks.Clocked):
    """A server with a number, maybe on a small disk in memory, which may be stopped for a while."""

    number: int = 0
    disk: bool = False

    @property
    def name(self):
        return self.node_id

    @property
    def ballast(self):
        return self.storage_path / "ballast"

    def mount(self):
        """Puts the data directory on a disk that can be filled; says whether the system allows it."""
        how = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(self.storage_path)]
        self.disk = subprocess.run(how, capture_output=True).returncode == 0
        return self.disk

    def wipe(self):
        for path in self.storage_path.iterdir():
            if path.is_dir():
                harness.shutil.rmtree(path)
            else:
                path.unlink()

    def fill_disk(self):
        try:
            with self.ballast.open("ab", buffering=0) as file:
                while True:
                    file.write(b"\0" * MIB)
        except OSError:
            pass

    def make_room(self):
        self.ballast.unlink(missing_ok=True)

    def health(self, timeout_s=2):
        connection = self.http(token="", timeout_s=timeout_s)
        try:
            return connection.get("sys/health").status
        except (OSError, harness.http.client.HTTPException):
            return None
        finally:
            connection.close()


class Nodes(Cluster):
    """A cluster over a network of the test's own."""

    #: The database that the nodes share, where they have no storage of their own, and its number in the network.
    database, database_number = None, None

    def __init__(self, size, binary, network, directory, **options):
        self.nodes, self.binary, self.network = [], harness.find_binary(binary), network
        self.directory, self.size = Path(directory), size
        for number in range(1, size + 1):
            node = Node(self.binary, self.directory / f"node{number}", node_id=f"node{number}", **network.place(number), **options,
                        # Secret ids that are used up are refused on purpose, again and again.
                        extra_config='user_lockout "all" {\n  disable_lockout = "true"\n}\n')
            node.number = number
            self.nodes.append(node)
        # Half of the nodes, so that a leader may have such a disk or not; the others wait for a real fsync.
        self.small_disks = [node for node in self.nodes[1::2] if network.has_faults and not self.database and node.mount()]

    def begin(self):
        first = self.nodes[0].start()
        first.init().unseal()
        self.configure_autopilot(first, VOTE_AT_ONCE)
        for node in self.nodes[1:]:
            self.join(node.start())
        self.wait_voters(self.size)

    def join(self, node, through=None):
        super().join(node, through or self.leader())

    def remove(self):
        for node in self.nodes:
            if node.is_running():
                node.kill()
            if node.disk:
                subprocess.run(["umount", "--lazy", str(node.storage_path)], check=False)
                node.disk = False
        harness.shutil.rmtree(self.directory, ignore_errors=True)

    def keep(self):
        """Ends the nodes and leaves what they had, also what was on disks in memory."""
        for node in self.nodes:
            if node.is_running():
                node.kill()
            if node.disk:
                node.make_room()
                harness.shutil.copytree(node.storage_path, node.directory / "data-kept", dirs_exist_ok=True)

    def numbers(self):
        """All that talk to each other."""
        return [node.number for node in self.nodes] + ([self.database_number] if self.database else [])

    def followers(self):
        leader = self.leader()
        return [node for node in self.nodes if node is not leader]

    def restart(self, node, unseal=True):
        node.start()
        if unseal:
            self.unseal_patiently(node)

    def unseal_patiently(self, node):
        """Gives the shares until they are taken: without a majority a node may not be able to."""

        def unsealed():
            try:
                connection = node.http(token="", timeout_s=10)
                status = connection.get("sys/seal-status").json
                if status["sealed"]:
                    for share in node.shares[: node.threshold]:
                        connection.put("sys/unseal", {"key": share})
                    status = connection.get("sys/seal-status").json
                connection.close()
                return not status["sealed"]
            except (OSError, harness.http.client.HTTPException):
                return False

        wait_for(f"unsealed {node.name}", unsealed, SETTLE_LIMIT_S)

    def settle(self, mark):
        """Waits until all nodes are up, voters, and know what has just been written. Answers how long each step took."""
        began, steps = time.monotonic(), {}

        def step(name):
            steps[name] = round(time.monotonic() - began, 2)

        for node in self.nodes:
            if not node.is_running():
                node.start()
        with ThreadPoolExecutor(self.size) as pool:
            list(pool.map(self.unseal_patiently, self.nodes))
        step("unsealed")
        self.leader()
        step("leader")
        wait_for(f"{self.size} voters", self._all_vote, SETTLE_LIMIT_S)
        step("voters")
        wait_for("an accepted write", lambda: self._mark(mark), SETTLE_LIMIT_S)
        step("writes")
        for node in self.nodes:
            wait_for(f"{node.name} with the newest data", lambda: self._has(node, mark), SETTLE_LIMIT_S)  # noqa: B023
        step("caught up")
        return steps

    def _all_vote(self):
        try:
            return sum(peer["voter"] for peer in self.peers()) == self.size
        except (OSError, harness.http.client.HTTPException, harness.ServerError):
            return False

    def _mark(self, mark):
        try:
            return self.leader().http(timeout_s=5).post("secret/data/mark", {"data": {"mark": mark}}).status == 200
        except (OSError, harness.http.client.HTTPException):
            return False

    @staticmethod
    def _has(node, mark):
        try:
            found = node.http(timeout_s=5).get("secret/data/mark").data
        except (OSError, harness.http.client.HTTPException):
            return False
        return bool(found) and (found.get("data") or {}).get("mark") == mark


class Sharing(Nodes):
    """Nodes over one store in a database of the test's own."""

    def __init__(self, size, binary, network, directory, database):
        self.database, self.database_number = database, size + 1
        super().__init__(size, binary, network, directory, storage=database.kind,
                         storage_config=database.block("faults", ha_enabled="true"))

    def begin(self):
        first = self.nodes[0].start()
        first.init().unseal()
        for node in self.nodes[1:]:
            node.shares, node.threshold, node.root_token = first.shares, first.threshold, first.root_token
            self.restart(node)

    def _all_vote(self):
        """Nobody has a vote: there is a lock."""
        return True

    def remove(self):
        super().remove()
        self.database.stop()

    def keep(self):
        super().keep()
        self.database.stop()


class Watch:
    """Looks all the time who says that it is the active node."""

    def __init__(self, nodes):
        self.nodes, self.done = nodes, threading.Event()
        #: When each node began to answer with a status, by name.
        self.changes = {node.name: [(0.0, None)] for node in nodes}
        self.threads = [threading.Thread(target=self._look, args=(node,), daemon=True) for node in nodes]
        for thread in self.threads:
            thread.start()

    def _look(self, node):
        changes = self.changes[node.name]
        while not self.done.wait(0.05):
            status = node.health(timeout_s=1)
            if status != changes[-1][1]:
                changes.append((time.monotonic(), status))

    def is_active(self, name):
        return self.changes[name][-1][1] == 200

    def active_between(self, start, end):
        """The nodes that said at some time between these that they are the active one."""
        found = set()
        for name, changes in self.changes.items():
            ends = [at for at, _ in changes[1:]] + [float("inf")]
            if any(status == 200 and at <= end and until >= start for (at, status), until in zip(changes, ends)):
                found.add(name)
        return found

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join(5)


def new_directory():
    return tempfile.mkdtemp(prefix="strongroom-cluster-")
