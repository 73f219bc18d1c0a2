# The original's external method with pygdbmi: one gdb under a GdbController, which for each flip attaches,
# reads, flips, reads back and detaches. Run by python3, for `cargo xtask bench`:
#   pygdbmi_flips.py GDB ENDPOINT one|each PLAN
# PLAN is JSON, a list of [address, mask]. `each` writes the commands as the original does, `one` all of a
# flip at once: pygdbmi waits for 0.2 s after every write whether more is to come.
#
# Invariant: what is timed is from the first write of a flip to the last answer.
import json
import re
import sys
import time

from pygdbmi.gdbcontroller import GdbController

gdb, endpoint, how, plan = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
controller = GdbController(command=[gdb, "--nx", "--quiet", "--interpreter=mi3"])
controller.get_gdb_response(timeout_sec=10, raise_error_on_timeout=False)
try:
    for address, mask in plan:
        show = "x/bx %#x" % address
        writes = [
            ["target remote " + endpoint, "maintenance packet Qqemu.PhyMemMode:1"],
            show,
            "set var *(unsigned int *) %#x ^= %d" % (address, mask),
            show,
            "detach",
        ]
        if how == "one":
            writes = [[*writes[0], *writes[1:]]]
        start = time.monotonic()
        answers = [answer for commands in writes for answer in controller.write(commands, timeout_sec=10)]
        took = time.monotonic() - start
        said = "".join(a["payload"] for a in answers if a["type"] == "console" and a["payload"])
        values = re.findall(r":\s+(0x[0-9a-f]{2})\s", said)
        if len(values) != 2:
            sys.exit("not two values in what gdb said: %r" % answers)
        print("flip %s %s %.9f" % (*values, took), flush=True)
finally:
    controller.exit()
