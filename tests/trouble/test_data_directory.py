"""A data directory that is damaged, or somebody else's: the server refuses to start, names the file, changes nothing."""

import hashlib
import os
import shutil
import struct
import subprocess
import unittest

from support import fill, harness, wait_until

END_LIMIT_S = 10


def contents(directory):
    """Every file below a directory with its mode, size and checksum."""
    found = {}
    for path in sorted(directory.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
        found[str(path.relative_to(directory))] = (path.stat().st_mode, content)
    return found


def flip(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def frames(segment):
    """Offset and whole length of each frame of a log file, as its format (crates/raft/src/log/segment.rs) says."""
    content, at, found = segment.read_bytes(), 64, []
    tag = content[at:at + 4]
    while content[at:at + 4] == tag:
        length = 12 + struct.unpack_from("<I", content, at + 4)[0]
        found.append((at, length))
        at += length
    return found


class DataDirectory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One directory that a server filled and left in order, and one that it was killed over."""
        cls.server = harness.Server.temporary()
        cls.addClassCleanup(cls.server.remove)
        fill(cls.server.ready())
        client = cls.server.http()
        for number in range(100):
            client.expect(204, "POST", f"kv/many/{number}", {"value": "x" * 1000})
        client.close()
        cls.killed = cls.server.directory / "killed"
        cls.stopped = cls.server.directory / "stopped"
        cls.server.kill()
        shutil.copytree(cls.server.storage_path, cls.killed)
        cls.server.start().unseal()
        cls.server.stop()
        shutil.copytree(cls.server.storage_path, cls.stopped)

    def setUp(self):
        self.data = self.server.storage_path
        self.lay(self.stopped)

    def lay(self, good):
        shutil.rmtree(self.data, ignore_errors=True)
        if good:
            shutil.copytree(good, self.data)

    def segment(self, place=0):
        return sorted(path for path in (self.data / "log").iterdir() if path.suffix == ".log")[place]

    def ended(self):
        """Starts the server, which is to end by itself; answers its status (None: it went on) and what it said."""
        command = [str(self.server.binary), "server", f"-config={self.server.config}"]
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=END_LIMIT_S)
        except subprocess.TimeoutExpired as expired:
            return None, (expired.stdout or b"").decode()
        return ended.returncode, ended.stdout

    def assert_refused(self, names, *words, but=("log/next", "log/spare")):
        """The server ends by itself with an error that names the file, and leaves all as it was (`but` what is there only
        to hold room for later)."""
        before = contents(self.data)
        ended, said = self.ended()
        self.assertEqual(ended, 1, said)
        self.assertIn(str(names), said)
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn("panicked", said)
        after = contents(self.data)
        changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name) and name not in but]
        self.assertEqual(changed, [], "the directory was changed")

    def assert_serves(self):
        self.server.start().unseal()
        client = self.server.http()
        self.assertEqual(client.get("kv/kept").data, {"value": "kept"})
        self.assertEqual(len(client.list("kv/many").data["keys"]), 100)
        client.close()
        self.server.stop()

    def test_undamaged(self):
        """What the other tests damage is good before."""
        for good in (self.stopped, self.killed):
            self.lay(good)
            self.assert_serves()

    # Somebody else's

    def test_of_another_program(self):
        for name, content in (("vault.db", b"\x00bolt"), ("raft/raft.db", b"\x00bolt"), ("notes.txt", b"mine"), ("state.redb", b"redb"),
                              ("log/0000000000000001.log", b"x"), ("core/_seal-config", b"{}")):
            with self.subTest(name=name):
                self.lay(None)
                (self.data / name).parent.mkdir(parents=True)
                (self.data / name).write_bytes(content)
                self.assert_refused(self.data / name.split("/")[0])

    def test_marked_as_another_format(self):
        for text in ("", "something", "{}", '{"format":"other-raft","version":1}', '["strongroom-raft"]', "\0" * 100):
            with self.subTest(text=text):
                (self.data / "FORMAT").write_text(text)
                self.assert_refused(self.data / "FORMAT")

    def test_of_a_later_version(self):
        (self.data / "FORMAT").write_text('{"format":"strongroom-raft","version":99,"later":[]}')
        self.assert_refused(self.data / "FORMAT", "99")

    def test_without_its_mark(self):
        (self.data / "FORMAT").unlink()
        self.assert_refused(self.data)

    def test_of_another_node(self):
        text = self.server.config.read_text()
        self.server.config.write_text(text.replace('node_id = "node1"', 'node_id = "node2"'))
        self.addCleanup(self.server.config.write_text, text)
        self.assert_refused(self.data / "FORMAT", "node1")

    def test_in_use(self):
        other = harness.Server.temporary()
        self.addCleanup(other.remove)
        other.config.write_text(other.config.read_text().replace(str(other.storage_path), str(self.data)))
        other.start()
        try:
            # The file after the current one is prepared in the background, under a passing name.
            wait_until((self.data / "log" / "next").exists, END_LIMIT_S, "the next log file")
            before = set(contents(self.data))
            ended, said = self.ended()
            self.assertEqual(ended, 1, said)
            self.assertIn(str(self.data / "LOCK"), said)
            self.assertEqual(set(contents(self.data)), before)
            self.assertEqual(other.http(token="").get("sys/seal-status").status, 200)
        finally:
            other.stop()

    def test_not_a_directory(self):
        self.lay(None)
        self.data.write_text("a file")
        ended, said = self.ended()
        self.assertEqual(ended, 1, said)
        self.assertIn(str(self.data), said)
        self.assertEqual(self.data.read_text(), "a file")
        self.data.unlink()

    # The database

    def test_text_in_place_of_the_database(self):
        for good in (self.stopped, self.killed):
            self.lay(good)
            (self.data / "state.redb").write_text("This is not a database.\n" * 1000)
            self.assert_refused(self.data / "state.redb")

    def test_garbage_in_the_database(self):
        path = self.data / "state.redb"
        for where, what in ((0, os.urandom(4096)), (12, b"\xff" * 8), (64, os.urandom(512))):
            with self.subTest(where=where):
                self.lay(self.stopped)
                with path.open("r+b") as file:
                    file.seek(where)
                    file.write(what)
                self.assert_refused(path)

    def test_database_cut_short(self):
        path = self.data / "state.redb"
        for keep in (0, 100, 4096, path.stat().st_size // 2):
            with self.subTest(keep=keep):
                self.lay(self.stopped)
                os.truncate(path, keep)
                self.assert_refused(path)

    def test_a_flipped_byte_in_the_database_never_shows_a_wrong_value(self):
        """The table's pages are not all read at a start: damage is found then, or answered with an error later."""
        path = self.data / "state.redb"
        for step in range(1, 8):
            self.lay(self.stopped)
            flip(path, path.stat().st_size * step // 8 + 100)
            with self.subTest(step=step):
                try:
                    self.server.start()
                except harness.ServerError as error:
                    self.assertIn(str(path), str(error))
                    continue
                client = self.server.http(timeout_s=10)
                try:
                    self.server.http(token="").put("sys/unseal", {"key": self.server.shares[0]})
                    for number in range(100):
                        answer = client.get(f"kv/many/{number}")
                        if answer.status == 200:
                            self.assertEqual(answer.data, {"value": "x" * 1000})
                        else:
                            self.assertIn(answer.status, (500, 503), answer.text)
                finally:
                    client.close()
                    self.server.stop()
                self.assertNotIn("panicked", self.server.last_log(100))

    # The log

    def test_garbage_in_place_of_a_log_file(self):
        for garbage in (os.urandom(100_000), b"text\n" * 1000, b"\0" * 100_000, b""):
            with self.subTest(garbage=garbage[:4]):
                self.lay(self.stopped)
                self.segment().write_bytes(garbage)
                self.assert_refused(self.segment())

    def test_a_flipped_byte_in_the_middle_of_the_log(self):
        for good in (self.stopped, self.killed):
            self.lay(good)
            found = frames(self.segment())
            self.assertGreater(len(found), 50)
            at, length = found[len(found) // 2]
            for place, what in ((at + 20, "payload"), (at + length - 1, "end of the payload"), (at + 9, "checksum"), (at + 5, "length"), (at, "tag")):
                with self.subTest(what=what, killed=good is self.killed):
                    self.lay(good)
                    flip(self.segment(), place)
                    self.assert_refused(self.segment(), str(at))

    def test_flipped_bytes_in_the_head_of_a_log_file(self):
        for place in (0, 8, 16, 24, 32):
            with self.subTest(place=place):
                self.lay(self.stopped)
                flip(self.segment(), place)
                self.assert_refused(self.segment())

    def test_the_end_of_the_log_is_lost(self):
        """What was acknowledged is not in the log any more: going on would hide it."""
        self.lay(self.killed)
        found = frames(self.segment())
        with self.segment().open("r+b") as file:
            file.seek(found[-20][0])
            file.write(b"\0" * sum(length for _, length in found[-20:]))
        # Opened and closed in order, the table says so in its own file.
        self.assert_refused(self.data / "log", but=("log/next", "log/spare", "state.redb"))

    def test_the_log_is_gone(self):
        """With what was acknowledged gone from the log, the server must not come up as a new one that anybody may initialise."""
        self.lay(self.killed)
        for path in (self.data / "log").iterdir():
            if path.suffix == ".log":
                path.unlink()
        self.assert_refused(self.data / "log")

    def test_the_vote_is_damaged(self):
        path = self.data / "log" / "vote"
        for damage in (lambda: path.write_text("nonsense"), lambda: flip(path, path.stat().st_size // 2), lambda: os.truncate(path, 5)):
            self.lay(self.stopped)
            damage()
            self.assert_refused(path)

    def test_nothing_at_all_is_changed(self):
        """Not even what is there only to hold room: whoever looks for the cause finds the directory as it was."""
        at, _ = frames(self.segment())[50]
        flip(self.segment(), at + 20)
        self.assert_refused(self.segment(), but=())
        self.lay(self.stopped)
        (self.data / "state.redb").write_text("text")
        self.assert_refused(self.data / "state.redb", but=())

    # What a crash leaves is no damage

    def test_a_torn_end_is_not_damage(self):
        """A power cut in the middle of the last write, which was not acknowledged: the server starts without it."""
        self.lay(self.killed)
        segment = self.segment()
        at, length = frames(segment)[-1]
        end = at + length
        with segment.open("r+b") as file:
            file.seek(at)
            tag = file.read(4)
            file.seek(end)
            file.write(tag + struct.pack("<II", 5000, 0x12345678) + b"torn" * 10)
        self.assert_serves()

    def test_leavings_of_a_start_cut_off(self):
        self.lay(None)
        self.data.mkdir()
        (self.data / "LOCK").touch()
        (self.data / "FORMAT.new").write_text("{")
        self.server.start()
        self.assertEqual(self.server.http(token="").get("sys/init").json, {"initialized": False})
        self.server.stop()
