"""Dead letters are listed once each, in bounded memory."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from etl.run.dead_letters import Letter, each_once

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def letters(offsets: range) -> Iterator[Letter]:
    for offset in offsets:
        yield Letter(NOW, b"{}", b"m1", None, "r1", "timestamp", 0, topic="readings", partition=0, offset=offset)


def test_letters_when_repeated_are_yielded_once_in_order():
    repeated = (letter for attempt in range(3) for letter in letters(range(1000 + attempt)))
    assert [letter.offset for letter in each_once(repeated)] == list(range(1002))


def test_letters_when_many_leave_no_entry_each_in_memory():
    before, after = 0, 0
    for letter in each_once(letters(range(60_000))):
        if letter.offset == 10_000:
            before = sys.getallocatedblocks()
        after = sys.getallocatedblocks()
    # 50,000 letters were yielded in between.
    assert after - before < 1000


def test_letters_when_many_need_no_more_memory_than_few():
    code = """
import re
from pathlib import Path
from etl.run.dead_letters import each_once
from tests.unit.run.test_dead_letters import letters

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

seen = 0
for letter in each_once(letters(range(150_000))):
    seen += 1
    if seen == 20_000:
        few = peak()
print(seen, peak() - few)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    seen, more_kib = map(int, done.stdout.split())
    assert seen == 150_000
    assert more_kib < 4 * 1024


def test_letters_when_the_temporary_folder_is_full_name_it():
    # A limit of the size of files stands for a full disk.
    code = """
import resource, signal
import etl.run.dead_letters as module
from tests.unit.run.test_dead_letters import letters

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
module._CACHE_KIB = 8
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
for _ in module.each_once(letters(range(5_000))):
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert "Unreachable: the folder of temporary files cannot be written: " in done.stderr
