"""The child process that compacts one log: `python -m streamkit.broker.log.clean_child JOB`.

It ends with its parent; its files have names that a start removes.
"""

from __future__ import annotations

import os
import sys

from streamkit.broker.log.cleaning import CleanJob, clean
from streamkit.common.errors import CorruptBatchError
from streamkit.common.files import SystemDisk
from streamkit.common.processes import end_with_parent

JOB_FILE, RESULT_FILE = "clean-job.tmp", "clean-result.tmp"
NICENESS = 5
DAMAGED = 3
"""The exit status for a batch that is not intact."""


def main(job_path: str) -> int:
    """Do the job in the file; the result is put beside it."""
    end_with_parent()
    os.nice(NICENESS)
    disk = SystemDisk()
    job = CleanJob.from_json(disk.read(job_path).decode())
    try:
        result = clean(disk, job)
    except CorruptBatchError as error:
        sys.stderr.write(f"streamkit: {job.path}: {error}\n")
        return DAMAGED
    disk.write_atomic(f"{job.path}/{RESULT_FILE}", result.to_json().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
