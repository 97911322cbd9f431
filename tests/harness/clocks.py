"""Servers whose clock a test sets, by libfaketime: the time of day only, not the time that intervals are measured by."""

import glob

import server as harness


def library():
    """Where libfaketime is; None where it is not installed (Debian: package faketime)."""
    found = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") + glob.glob("/usr/lib/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


class Clocked(harness.Server):
    """A server whose clock can be set while it runs, and stays as it was set when it is started again."""

    offset_s = 0

    def environment(self):
        environment = super().environment()
        if path := library():
            self.set_clock(self.offset_s)
            environment |= {"LD_PRELOAD": path, "FAKETIME_TIMESTAMP_FILE": str(self._offset_file()), "FAKETIME_CACHE_DURATION": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        return environment

    def _offset_file(self):
        return self.directory / "clock"

    def set_clock(self, seconds):
        """Sets the clock that many seconds before (less than zero) or after the true time; noticed within a second."""
        self.offset_s = seconds
        self._offset_file().write_text(f"{seconds:+d}\n")
