"""What happens to a cluster in a round. What is random is drawn beforehand, so that a seed says all of it."""

import os
import random
import threading
import time

from nodes import clocks, harness, wait_for


class Fault:
    """A fault under way: the cluster, the numbers drawn for it, and what it tells."""

    def __init__(self, nodes, rng):
        self.nodes, self.rng, self.network = nodes, rng, nodes.network
        self.silently = rng.random() < 0.6
        self.leader_first = rng.random() < 0.6
        self.length = rng.uniform(1.0, 3.0)
        self.told, self.background = [], []

    def tell(self, text):
        self.told.append(text)

    def leader(self):
        return self.nodes.leader()

    def follower(self):
        return self.rng.choice(self.nodes.followers())

    def victim(self):
        return self.leader() if self.leader_first else self.follower()

    def hold(self, seconds=None):
        time.sleep(self.length if seconds is None else seconds)

    def others(self, node):
        return [number for number in self.nodes.numbers() if number != node.number]

    def in_background(self, work):
        thread = threading.Thread(target=work, daemon=True)
        self.background.append(thread)
        thread.start()

    def end(self):
        for thread in self.background:
            thread.join(30)


def _kill(fault, node, seconds, role=""):
    """Kills a node and starts it again after a while."""
    node.kill()
    fault.tell(f"killed {node.name}{role}")
    fault.hold(seconds)
    fault.nodes.restart(node)


def kill_leader(fault):
    _kill(fault, fault.leader(), fault.length / 2, ", the leader")


def kill_follower(fault):
    _kill(fault, fault.follower(), fault.length / 2)


def kill_leaders_in_turn(fault):
    for _ in range(2):
        _kill(fault, fault.leader(), 0.2, ", the leader")


def kill_all(fault):
    for node in fault.nodes.nodes:
        node.kill()
    fault.tell("killed all")
    order = fault.nodes.nodes[:]
    fault.rng.shuffle(order)
    for node in order:
        node.start()
        fault.hold(0.1)
    for node in order:
        fault.nodes.unseal(node)


def kill_majority(fault):
    """Leaves less than half, with the leader among them or not; nothing is acknowledged meanwhile."""
    staying = fault.victim()
    for node in fault.nodes.nodes:
        if node is not staying:
            node.kill()
    fault.tell(f"killed all but {staying.name}")
    fault.hold(fault.length / 2)
    for node in fault.nodes.nodes:
        if node is not staying:
            node.start()
    for node in fault.nodes.nodes:
        fault.nodes.unseal_patiently(node)


def stop_leader(fault):
    node = fault.leader()
    node.stop()
    fault.tell(f"stopped {node.name}, the leader, in order")
    fault.hold(fault.length / 2)
    fault.nodes.restart(node)


def _pause(fault, node, seconds):
    fault.tell(f"paused {node.name} for {seconds:.2f} s")
    node.pause()
    try:
        fault.hold(seconds)
    finally:
        node.resume()


def pause_leader_shortly(fault):
    """Shorter than an election, about as long, a little longer."""
    for _ in range(3):
        _pause(fault, fault.leader(), fault.rng.uniform(0.1, 0.9))
        fault.hold(0.3)


def pause_leader(fault):
    _pause(fault, fault.leader(), fault.length + 0.5)


def pause_follower(fault):
    _pause(fault, fault.follower(), fault.length + 0.5)


def slow_node(fault):
    """Runs a tenth to a third of the time."""
    node, until = fault.victim(), time.monotonic() + fault.length
    fault.tell(f"slowed {node.name} down")
    while time.monotonic() < until:
        node.pause()
        fault.hold(fault.rng.uniform(0.03, 0.2))
        node.resume()
        fault.hold(fault.rng.uniform(0.01, 0.05))


def cut_off(fault):
    node = fault.victim()
    fault.tell(f"cut {node.name} off for {fault.length:.2f} s{'' if fault.silently else ', with an error for who dials'}")
    fault.network.split([node.number], fault.others(node), fault.silently)
    fault.hold()
    fault.network.heal()


def cut_leader_off(fault):
    fault.leader_first = True
    cut_off(fault)


def split(fault):
    """Into a majority and the rest, by the draw; with five nodes the leader has one companion at times."""
    numbers = fault.nodes.numbers()
    fault.rng.shuffle(numbers)
    few = len(numbers) // 2
    minority, majority = numbers[:few], numbers[few:]
    fault.tell(f"split {sorted(minority)} from {sorted(majority)} for {fault.length:.2f} s")
    fault.network.split(minority, majority, fault.silently)
    fault.hold()
    fault.network.heal()


def split_and_kill(fault):
    """The leader is cut off, and dies with what it could not replicate."""
    node = fault.leader()
    fault.tell(f"cut {node.name} off, the leader, and killed it")
    fault.network.split([node.number], fault.others(node), fault.silently)
    fault.hold(fault.length / 2)
    node.kill()
    fault.network.heal()
    fault.nodes.restart(node)


def one_way(fault):
    """A node that is heard and does not hear, or the other way round."""
    node, deaf = fault.victim(), fault.rng.random() < 0.5
    fault.tell(f"{node.name} {'hears nobody' if deaf else 'is heard by nobody'} for {fault.length:.2f} s")
    for other in fault.others(node):
        fault.network.drop(*((other, node.number) if deaf else (node.number, other)), fault.silently)
    fault.hold()
    fault.network.heal()


def one_link(fault):
    """Two nodes do not reach each other; both reach the rest."""
    one, other = fault.leader(), fault.follower()
    fault.tell(f"no way between {one.name}, the leader, and {other.name} for {fault.length:.2f} s")
    fault.network.split([one.number], [other.number], fault.silently)
    fault.hold()
    fault.network.heal()


def flapping(fault):
    until, times = time.monotonic() + fault.length + 0.5, 0
    while time.monotonic() < until:
        node = fault.victim()
        fault.network.split([node.number], fault.others(node), fault.silently)
        fault.hold(fault.rng.uniform(0.1, 0.3))
        fault.network.heal()
        fault.hold(fault.rng.uniform(0.1, 0.3))
        times += 1
    fault.tell(f"cut the {'leader' if fault.leader_first else 'followers'} off {times} times")


def slow_link(fault):
    node = fault.victim()
    fault.tell(f"slow link of {node.name}")
    fault.network.slow(node.number)
    fault.hold(fault.length + 0.5)
    fault.network.heal()


def slow_disk(fault):
    """Another program writes and syncs as fast as it can, on the file system of the nodes that have a real one."""
    until = time.monotonic() + fault.length
    path = fault.nodes.directory / "busy"
    fault.tell("kept the disk busy")
    with path.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            file.seek(0)
            file.write(os.urandom(1 << 20) * 8)
            os.fsync(file.fileno())
    path.unlink()


def full_disk(fault):
    small = fault.nodes.small_disks
    leader = fault.leader()
    node = leader if fault.leader_first and leader in small else fault.rng.choice(small)
    fault.tell(f"filled the disk of {node.name}{', the leader' if node is leader else ''}")
    node.fill_disk()
    fault.hold()
    node.make_room()


def full_disk_and_kill(fault):
    node = fault.rng.choice(fault.nodes.small_disks)
    fault.tell(f"filled the disk of {node.name} and killed it")
    node.fill_disk()
    fault.hold(fault.length / 2)
    node.kill()
    node.make_room()
    fault.nodes.restart(node)


def _admin(fault, path, body=None):
    """An operator's request: tried again until it is taken."""

    def taken():
        try:
            reply = fault.leader().http(timeout_s=15).post(path, body)
        except (OSError, harness.http.client.HTTPException):
            return False
        return reply.status in (200, 204)

    wait_for(path, taken, 30)


def _rejoin(fault, node):
    node.kill()
    node.wipe()
    node.start()
    fault.nodes.join(node)


def replace_member(fault):
    node = fault.victim()
    fault.tell(f"removed {node.name}, and joined it with an empty directory")
    _admin(fault, "sys/storage/raft/remove-peer", {"server_id": node.name})
    fault.hold(fault.length / 3)
    _rejoin(fault, node)


def lost_data(fault):
    node = fault.follower()
    fault.tell(f"{node.name} lost its data and joined under its old name")
    _rejoin(fault, node)


def demote_and_promote(fault):
    node = fault.follower()
    fault.tell(f"demoted {node.name} and promoted it again")
    _admin(fault, "sys/storage/raft/demote", {"server_id": node.name})
    fault.hold(fault.length / 2)
    _admin(fault, "sys/storage/raft/promote", {"server_id": node.name})


def step_down(fault):
    for _ in range(3):
        node = fault.leader()
        _admin(fault, "sys/step-down")
        fault.tell(f"{node.name} stepped down")
        fault.hold(fault.rng.uniform(0.1, 0.5))


def clock_jump(fault):
    """The clock of a follower is an hour off. No token, lease or wrapped answer ends on that account; that of the leader,
    whose clock decides, is left alone."""
    node, hours = fault.follower(), fault.rng.choice([-1, 1])
    fault.tell(f"set the clock of {node.name} {'forward' if hours > 0 else 'back'} by an hour")
    node.set_clock(hours * 3600)
    # It takes a second until it is noticed.
    fault.hold(fault.length + 1)
    node.set_clock(0)
    fault.hold(1)


def two_at_once(fault):
    """Two of the simple ones, one in the other's time; on two nodes, so that no majority may be left."""
    cutting = fault.network.has_faults
    other = fault.rng.choice([kill_follower, pause_follower, slow_node, *([slow_disk] if cutting else [])])
    beside = Fault(fault.nodes, random.Random(fault.rng.random()))
    fault.in_background(lambda: other(beside))
    (cut_leader_off if cutting else pause_leader)(fault)
    fault.end()
    fault.told += beside.told


def restart_database(fault):
    """As after a crash: whatever it had not synced, it had not acknowledged."""
    fault.nodes.database.restart()
    fault.tell("restarted the database")
    fault.hold(fault.length / 2)


def pause_database(fault):
    """For less than the lock is good, or for longer."""
    seconds = fault.rng.choice([1, 2, 7])
    fault.tell(f"paused the database for {seconds} s")
    fault.nodes.database.pause()
    fault.hold(seconds)
    fault.nodes.database.resume()


def cut_database_off(fault):
    """No node can write; the lock's time ends meanwhile, or does not."""
    fault.length = fault.rng.choice([1, 2, 7])
    number = fault.nodes.database_number
    fault.tell(f"cut the database off for {fault.length} s")
    fault.network.split([number], [node.number for node in fault.nodes.nodes], fault.silently)
    fault.hold()
    fault.network.heal()


def lose_database(fault):
    """The leader alone does not reach the database, in one direction or both, until another has taken the lock."""
    node, number = fault.leader(), fault.nodes.database_number
    ways = fault.rng.choice(["to", "from", "to and from"])
    fault.length = fault.rng.choice([2, 8])
    fault.tell(f"nothing comes {ways} the database at {node.name}, the leader, for {fault.length} s")
    if "to" in ways:
        fault.network.drop(node.number, number, fault.silently)
    if "from" in ways:
        fault.network.drop(number, node.number, fault.silently)
    fault.hold()
    fault.network.heal()


PROCESSES = [kill_leader, kill_follower, kill_leaders_in_turn, kill_all, kill_majority, stop_leader, pause_leader_shortly,
             pause_leader, pause_follower, slow_node, step_down, replace_member, lost_data, demote_and_promote, slow_disk,
             two_at_once]
#: Those that have a meaning only where each node has storage of its own.
MEMBERS = [replace_member, lost_data, demote_and_promote, slow_disk]
DATABASE = [restart_database, pause_database]
WAY_TO_DATABASE = [cut_database_off, lose_database]
NETWORK = [cut_leader_off, cut_off, split, split_and_kill, one_way, one_link, flapping]
DISKS = [full_disk, full_disk_and_kill]


def available(nodes, say):
    """The faults that this system can make; says which it cannot."""
    faults = [fault for fault in PROCESSES if not nodes.database or fault not in MEMBERS]
    if nodes.database:
        faults += DATABASE
    if nodes.network.has_faults:
        faults += NETWORK
        if nodes.database:
            faults += WAY_TO_DATABASE
        if nodes.network.slow_link:
            faults.append(slow_link)
            if nodes.network.slow_link[0] != "netem":
                say("no netem in this kernel: links are made slow by narrowing them (tbf), without loss and jitter")
        else:
            say("left out: slow links (this kernel has neither netem nor tbf)")
    else:
        say("left out: everything that happens to the network (no namespaces allowed; nodes are on 127.0.0.1)")
    if nodes.database:
        return faults
    if clocks.library():
        faults.append(clock_jump)
    else:
        say("left out: clock jumps (no libfaketime; see scripts/install-test-deps)")
    if nodes.small_disks:
        faults += DISKS
    else:
        say("left out: full disks (no file system may be mounted)")
    return faults


def schedule(faults, seed):
    """Which fault each round has, without end: every one once before any comes again, in an order of the seed's."""
    rng = random.Random(seed)
    while True:
        bag = list(faults)
        rng.shuffle(bag)
        for fault in bag:
            yield fault, rng.randrange(1 << 32)
