"""Rounds of faults, with a look after each, and the end, when all is quiet."""

import random
import time
from pathlib import Path

import faults as catalogue
import network
from clients import Client
from nodes import Nodes, clocks, harness, new_directory, wait_for
from system import LATEST_S, System

CLIENTS = 6
ROLES = ("web", "short")
EVERYTHING = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'
#: The address of the system on the bridge: not that of clients, so that a node can lose the one and not the other.
SYSTEM = 253
#: By how much clocks are set forward at a time, and how long it takes until nodes have noticed and done what was due.
STEP_S, NOTICED_S = 130, 3
#: No act is under way any more when nobody has asked for so long: an act gives up after ten seconds (`reach.rs`).
ACTS_END_S = 11
#: All must be quiet by then: by the nodes' clocks before leases of an hour end, else by the longest wait there is.
MOST_STEPS, LONGEST_QUIET_S = 20, 300

FAULTS = [
    catalogue.kill_leader, catalogue.kill_follower, catalogue.kill_leaders_in_turn, catalogue.kill_all, catalogue.stop_leader,
    catalogue.pause_leader, catalogue.pause_leader_shortly, catalogue.pause_follower, catalogue.slow_node, catalogue.step_down,
]
NETWORK = [
    catalogue.cut_leader_off, catalogue.cut_off, catalogue.split, catalogue.split_and_kill, catalogue.one_way,
    catalogue.one_link, catalogue.flapping,
]


def lose_system(fault):
    """The leader, or a follower that may become one, does not reach the system, or is not heard by it."""
    node = fault.victim()
    fault.tell(f"no way from {node.name} to the system for {fault.length:.2f} s")
    fault.network.drop(node.number, SYSTEM, fault.silently)
    fault.hold()
    fault.network.heal()


class Run:
    """A cluster, the system outside, and what is done to them."""

    def __init__(self, options, say):
        self.options, self.say = options, say
        self.directory = Path(new_directory())
        isolated = network.is_isolated()
        self.way = network.Bridge(3) if isolated else network.Loopback()
        host = f"{network.SUBNET}.{SYSTEM}" if isolated else "127.0.0.1"
        if isolated:
            network.call("ip", "addr", "add", f"{host}/24", "dev", "br0")
        self.system = System(host, options.seed)
        self.nodes = Nodes(3, options.server, self.way, self.directory)
        self.clients, self.looks = [], 0

    def prepare(self):
        self.nodes.begin()
        root = self.nodes.leader().http()
        root.expect(204, "POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        root.expect(204, "POST", "sys/mounts/db", {"type": "outside"})
        root.expect(200, "POST", "db/settings/pool", {"url": self.system.url})
        root.expect(204, "POST", "sys/policies/acl/all", {"policy": EVERYTHING})
        self.nodes.settle("begin")
        reply = root.expect(200, "GET", "db/creds/web")
        if reply.json["lease_id"] not in self.system.exists():
            raise harness.ServerError("nothing was made outside")
        self.clients = [Client(self.nodes.nodes, self.options.seed, number) for number in range(CLIENTS)]
        for client in self.clients:
            client.start()
        self.system.is_in_trouble = True

    def faults(self):
        found = FAULTS + (NETWORK + [lose_system] if self.way.has_faults else [])
        if self.options.only:
            found = [fault for fault in found if fault.__name__ in self.options.only]
            if not found:
                raise harness.ServerError(f"no such fault: {', '.join(self.options.only)}")
        return found

    def rounds(self):
        """The number of each round, its fault, and what is drawn for it, until there are enough."""
        faults, began, options = self.faults(), time.monotonic(), self.options
        most = len(faults) if options.rounds is None and options.seconds is None else options.rounds
        for number, (make_fault, drawn) in enumerate(catalogue.schedule(faults, options.seed), 1):
            over = options.seconds is not None and time.monotonic() - began > options.seconds
            if over or (most and number > most):
                return
            yield number, make_fault, drawn

    def round(self, number, make_fault, drawn):
        began = time.monotonic()
        fault = catalogue.Fault(self.nodes, random.Random(drawn))
        try:
            fault.hold(0.3)
            make_fault(fault)
            fault.end()
        finally:
            self.heal()
        steps = self.nodes.settle(f"r{number}")
        self.look()
        told, took = "; ".join(fault.told), time.monotonic() - began
        self.say(f"round {number:3} {make_fault.__name__}: {told}: well again {steps} ({took:.1f} s), "
                 f"{len(self.system.exists())} users")

    def heal(self):
        self.way.heal()
        for node in self.nodes.nodes:
            node.resume()

    def states(self):
        """All leases and intents, by id, with their state where it is asked for: as the active node knows them."""
        root, found = self.nodes.leader().http(timeout_s=10), {}
        for role in ROLES:
            reply = root.list(f"sys/leases/lookup/db/creds/{role}/")
            if reply.status not in (200, 404):
                raise harness.ServerError(f"leases: {reply.status} {reply.text}")
            for key in reply.data["keys"] if reply.status == 200 else []:
                found[f"db/creds/{role}/{key}"] = None
        return root, found

    def look(self):
        """What exists outside, before and after it was looked what is recorded, is recorded; nothing was made twice."""
        before = self.system.exists()
        recorded = self.patiently(lambda: self.states()[1])
        unknown = (before & self.system.exists()) - set(recorded)
        if unknown:
            raise harness.ServerError(f"outside and not recorded: {sorted(unknown)}")
        self.check_once()
        self.looks += 1

    def check_once(self):
        if twice := self.system.made_twice():
            raise harness.ServerError(f"made more than once for one intent: {twice}")
        for client in self.clients:
            if client.trouble:
                raise client.trouble

    @staticmethod
    def patiently(ask):
        """Asks again where the node that was asked has just lost its lead."""
        for _ in range(20):
            try:
                return ask()
            except (OSError, harness.http.client.HTTPException):
                time.sleep(0.5)
        return ask()

    def end(self):
        """Everything works, nobody asks any more, and time passes until nothing is left to do."""
        for client in self.clients:
            client.done.set()
        for client in self.clients:
            client.join(30)
        self.system.is_in_trouble = False
        self.heal()
        self.nodes.settle("end")
        self.say(f"{self.looks} looks; the system was {self.system.counts}")
        counts = {}
        for what, count in (item for client in self.clients for item in client.counts.items()):
            counts[what] = counts.get(what, 0) + count
        self.say(f"clients: {dict(sorted(counts.items()))}")
        # Setting a clock forward is no way to wait for what a clock does not move: messages that are under way.
        time.sleep(ACTS_END_S)
        wait_for("an end of what is under way", self.system.is_quiet, LATEST_S + 10)
        self.look()
        began, step = time.monotonic(), 0
        while left := self.patiently(self.unquiet):
            self.look()
            step += 1
            over = step > MOST_STEPS if clocks.library() else time.monotonic() - began > LONGEST_QUIET_S
            if over:
                raise harness.ServerError(f"not quiet: {left}")
            if clocks.library():
                for node in self.nodes.nodes:
                    node.set_clock(step * STEP_S)
            time.sleep(NOTICED_S)
        self.say(f"quiet after {time.monotonic() - began:.1f} s, the clocks {step * STEP_S if clocks.library() else 0} s ahead")
        self.patiently(self.check_quiet)

    def unquiet(self):
        """Leases that are not simply in force, and changes of the password that are not settled. Those that were given up
        are tried again, as an operator would."""
        root, found = self.states()
        left = []
        for lease_id in found:
            reply = root.post("sys/leases/lookup", {"lease_id": lease_id})
            state = reply.data["state"] if reply.status == 200 else f"{reply.status}"
            if state == "irrevocable":
                root.put("sys/leases/revoke", {"lease_id": lease_id})
            if state != "active":
                left.append(f"{lease_id} {state}")
        changes = root.list("sys/leases/lookup/db/rotate/")
        for key in changes.data["keys"] if changes.status == 200 else []:
            left.append(f"db/rotate/{key}")
            root.put("sys/leases/revoke", {"lease_id": f"db/rotate/{key}"})
        return left

    def check_quiet(self):
        root, recorded = self.states()
        outside, recorded = self.system.exists(), set(recorded)
        if outside != recorded:
            raise harness.ServerError(
                f"outside and not leased: {sorted(outside - recorded)}; leased and not outside: {sorted(recorded - outside)}")
        held = {lease_id for client in self.clients for lease_id in client.held}
        if lost := held - recorded:
            raise harness.ServerError(f"acknowledged and not leased: {sorted(lost)}")
        if revived := {lease_id for client in self.clients for lease_id in client.ended} & recorded:
            raise harness.ServerError(f"ended, and in force: {sorted(revived)}")
        if (known := root.expect(200, "GET", "db/rotate").data["password"]) != self.system.password:
            raise harness.ServerError(f"the password known is {known}, and {self.system.password} holds")
        self.check_once()
        if not held or not self.system.created:
            raise harness.ServerError("nothing happened: that proves nothing")
        self.say(f"{len(self.system.created)} users were made, each once; {len(outside)} exist and are leased; "
                 f"{len(held)} were acknowledged and not given back")

    def close(self, keep):
        for client in self.clients:
            client.done.set()
        self.system.close()
        if keep:
            self.nodes.keep()
            self.say(f"what the nodes had, and their logs: {self.directory}")
        else:
            self.nodes.remove()
