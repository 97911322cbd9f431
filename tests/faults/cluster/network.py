"""Where the nodes live: a network namespace each, joined by a bridge, and all that can go wrong between them. A database
that they share lives among them.

Everything is inside namespaces of the test's own (network, mount, process): nothing of the machine's network is touched,
and all of it goes with the process, however that ends, so that nothing can be left over. `/run` is a file system of
the test's own, too, which is why the names that `ip netns` keeps there need not be unique on the machine.
"""

import os
import subprocess
import sys

IN_NAMESPACE = "STRONGROOM_CLUSTER_NAMESPACE"
SUBNET = "10.213.77"
#: An Ethernet address that nobody has: what is sent there is lost without a word.
NOBODY = "02:00:00:00:00:fe"
API_PORT, CLUSTER_PORT = 8200, 8201


def call(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


def enter(with_other_users=False):
    """Starts this program again in namespaces of its own. Returns there, or where none are allowed.

    With other users: where processes are to belong to these, too, which takes root.
    """
    if os.environ.get(IN_NAMESPACE):
        return
    base = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    probe = ("mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link add br0 type bridge"
             " && ip netns add n1 && ip link add v1 type veth peer name eth0 netns n1 && ip netns exec n1 true")
    for flags in [base] if with_other_users else [base, [*base, "--user", "--map-root-user"]]:
        try:
            allowed = subprocess.run(["unshare", *flags, "sh", "-c", probe], capture_output=True)
        except FileNotFoundError:
            return
        if allowed.returncode == 0:
            os.environ[IN_NAMESPACE] = "1"
            os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])


def is_isolated():
    return bool(os.environ.get(IN_NAMESPACE))


class Loopback:
    """No namespaces: nodes on 127.0.0.1, and no faults of the network."""

    has_faults = False
    slow_link = None

    def place_of_database(self):
        """What a database is told of where it lives."""
        return {}

    def place(self, number):
        """What a server is told of where it lives."""
        return {}

    def heal(self):
        pass


class Bridge:
    """A namespace for each node and a bridge between them; clients are on the bridge. The last one may be a database's."""

    has_faults = True

    def __init__(self, size):
        self.size = size
        call("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.makedirs("/run/netns")
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", "br0", "type", "bridge")
        call("ip", "addr", "add", f"{SUBNET}.254/24", "dev", "br0")
        call("ip", "link", "set", "br0", "up")
        for number in range(1, size + 1):
            name = self.name(number)
            call("ip", "netns", "add", name)
            call("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            call("ip", "link", "set", f"v{number}", "master", "br0", "up")
            call("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            call("ip", "-n", name, "link", "set", "eth0", "up")
            call("ip", "-n", name, "link", "set", "lo", "up")
        self.cut, self.slowed = {}, set()
        self.slow_link = self._find_slow_link()

    @staticmethod
    def name(number):
        return f"strongroom-{number}"

    @staticmethod
    def address(number):
        return f"{SUBNET}.{number}"

    def place(self, number):
        return {"host": self.address(number), "ports": (API_PORT, CLUSTER_PORT),
                "launcher": ("ip", "netns", "exec", self.name(number))}

    def place_of_database(self):
        return {"host": self.address(self.size), "near": f"{SUBNET}.0/24",
                "launcher": ("ip", "netns", "exec", self.name(self.size))}

    def _find_slow_link(self):
        """How this kernel makes a link slow; None: it cannot."""
        for how in (["netem", "delay", "40ms", "20ms", "loss", "1%"],
                    ["tbf", "rate", "600kbit", "burst", "4kb", "latency", "400ms"]):
            if call("tc", "-n", self.name(1), "qdisc", "add", "dev", "eth0", "root", *how, check=False).returncode == 0:
                call("tc", "-n", self.name(1), "qdisc", "del", "dev", "eth0", "root")
                return how
        return None

    def drop(self, sender, receiver, silently):
        """Loses all that `sender` sends to `receiver`; the other direction stays.

        Silently: frames go to an address that nobody has, as behind a broken switch. Otherwise the sender's system
        knows no way (a blackhole route) and says so to who tries to connect.
        """
        if (sender, receiver) in self.cut:
            return
        if silently:
            call("ip", "-n", self.name(sender), "neigh", "replace", self.address(receiver),
                 "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
        else:
            call("ip", "-n", self.name(sender), "route", "replace", "blackhole", f"{self.address(receiver)}/32")
        self.cut[sender, receiver] = silently

    def restore(self, sender, receiver):
        if (silently := self.cut.pop((sender, receiver), None)) is None:
            return
        kind = ("neigh", "del", self.address(receiver), "dev", "eth0") if silently else (
            "route", "del", "blackhole", f"{self.address(receiver)}/32")
        call("ip", "-n", self.name(sender), *kind)

    def split(self, one_side, other_side, silently):
        for a in one_side:
            for b in other_side:
                self.drop(a, b, silently)
                self.drop(b, a, silently)

    def slow(self, number):
        call("tc", "-n", self.name(number), "qdisc", "add", "dev", "eth0", "root", *self.slow_link)
        self.slowed.add(number)

    def heal(self):
        for sender, receiver in list(self.cut):
            self.restore(sender, receiver)
        for number in self.slowed:
            call("tc", "-n", self.name(number), "qdisc", "del", "dev", "eth0", "root")
        self.slowed.clear()
