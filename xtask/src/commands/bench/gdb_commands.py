# What the original's gdb command `autoinject` does for each flip in RAM, in its order: `cont`, then
# `stop_delayed`, then the list of RAM ranges that it draws an address from, then the flip and its check.
# Run by gdb, for `cargo xtask bench`; `plan` is a list of [address, mask, interval in ns].
#
# Invariant: nothing waits but what waited there.
import time

import gdb


def monitor(line):
    return gdb.execute("monitor " + line, to_string=True)


def byte_at(address):
    return gdb.selected_inferior().read_memory(address, 1).tobytes()[0]


for address, mask, interval in plan:  # noqa: F821
    start = time.monotonic()
    monitor("cont")
    monitor("stop_delayed %d" % interval)
    monitor("info mtree -f")
    old = byte_at(address)
    gdb.selected_inferior().write_memory(address, bytes([old ^ mask]))
    new = byte_at(address)
    print("flip %#x %#x %.9f" % (old, new, time.monotonic() - start), flush=True)
