"""A system outside that nodes make users in, and that lives on whatever becomes of them: over HTTP, and like none that one
would wish for. What it does with a request is drawn, so that it refuses, lies, forgets to answer, and does things late.
"""

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What becomes of a request in times of trouble, and how often of a hundred.
MOODS = {"fine": 58, "slow": 12, "mute": 9, "late": 6, "refusing": 5, "lying": 5, "down": 5}
#: The longest time for which something that was sent is under way. The frame reckons with a minute.
LATEST_S = 8


class System:
    """Users under marks, and one password."""

    def __init__(self, host, seed):
        self.lock = threading.Lock()
        self.rng = random.Random(f"{seed}/system")
        self.users, self.created, self.numbers, self.password = {}, {}, 0, "first"
        #: What is to be done later, and how many requests are being answered.
        self.under_way, self.answering = [], 0
        self.is_in_trouble, self.counts = False, dict.fromkeys(MOODS, 0)
        self.server = ThreadingHTTPServer((host, 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://{host}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def draw(self):
        """What becomes of the next request, and after how many seconds."""
        with self.lock:
            mood = self.rng.choices(list(MOODS), list(MOODS.values()))[0] if self.is_in_trouble else "fine"
            self.counts[mood] += 1
            return mood, self.rng.uniform(0.05, 1.5 if mood == "slow" else LATEST_S)

    def arrived(self, name, fields):
        """A request is here, whatever becomes of it."""
        if name == "create":
            with self.lock:
                self.created[fields["mark"]] = self.created.get(fields["mark"], 0) + 1

    def later(self, seconds, name, fields):
        with self.lock:
            self.under_way.append((name, fields))

        def do():
            time.sleep(seconds)
            self.do(name, fields)
            with self.lock:
                self.under_way.remove((name, fields))

        threading.Thread(target=do, daemon=True).start()

    def do(self, name, fields):
        """Does what it is asked; answers the status and a number."""
        with self.lock:
            if name == "create":
                self.numbers += 1
                self.users[fields["mark"]] = {"number": self.numbers, "until": fields["until"]}
                return 200, self.numbers
            if name == "drop":
                self.users.pop(fields["mark"], None)
                return 200, 0
            if name == "extend":
                user = self.users.get(fields["mark"])
                if user is None:
                    return 403, 0
                user["until"] = fields["until"]
                return 200, user["number"]
            if name == "password" and fields["from"] == self.password:
                self.password = fields["to"]
                return 200, 0
            return (200 if name == "login" and fields["password"] == self.password else 403), 0

    def exists(self):
        """The marks of users that are there, or may still come to be."""
        with self.lock:
            return set(self.users) | {fields["mark"] for name, fields in self.under_way if name == "create"}

    def made_twice(self):
        with self.lock:
            return [mark for mark, times in self.created.items() if times > 1]

    def is_quiet(self):
        with self.lock:
            return not self.under_way and not self.answering

    def _handler(self):
        system = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802 - the library's name
                fields = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with system.lock:
                    system.answering += 1
                try:
                    self.take(self.path.rsplit("/", 1)[1], fields)
                finally:
                    with system.lock:
                        system.answering -= 1

            def take(self, name, fields):
                mood, seconds = system.draw()
                if mood == "down":
                    return self.hang_up()
                system.arrived(name, fields)
                if mood == "refusing":
                    return self.answer(403, 0)
                if mood == "late":
                    system.later(seconds, name, fields)
                    return self.hang_up()
                if mood == "slow":
                    time.sleep(seconds)
                status, number = system.do(name, fields)
                if mood == "mute":
                    return self.hang_up()
                return self.answer(403 if mood == "lying" else status, number)

            def hang_up(self):
                self.close_connection = True

            def answer(self, status, number):
                body = json.dumps({"number": number}).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    # The node that asked is gone.
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler
