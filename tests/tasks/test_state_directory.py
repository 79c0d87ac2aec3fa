"""The state directory: identity, locks, and cleaning up after tasks that left."""

from __future__ import annotations

import json
import os
import time
from uuid import UUID

import pytest

from streamkit.common.errors import UsageError
from streamkit.common.files import SystemDisk
from streamkit.common.model import TaskId
from streamkit.common.system import system_seams
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.state_directory import (
    PROCESS_FILE,
    Cleaner,
    StateDirectory,
    member_id_of,
)
from streamkit.tasks.worker import take_directory

TASK, OTHER = TaskId(3, 7), TaskId(4, 12)
DELAY_MS = 600


class Chance:
    def __init__(self):
        self.drawn = 40

    def uuid4(self):
        self.drawn += 1
        return UUID(int=self.drawn)


@pytest.fixture
def open_directory(tmp_path):
    return lambda: StateDirectory(SystemDisk(), str(tmp_path), "shop")


def test_process_id_stays(open_directory, tmp_path):
    first = open_directory().process_id(Chance())
    assert open_directory().process_id(Chance()) == first == UUID(int=41)
    assert json.loads((tmp_path / "shop" / PROCESS_FILE).read_text())["processId"] == str(first)


def test_unreadable_process_file_is_set_aside(open_directory, tmp_path):
    directory = open_directory()
    (tmp_path / "shop" / PROCESS_FILE).write_text("{}")
    assert directory.process_id(Chance()) == UUID(int=41)


def test_second_process_is_refused_in_one_line(open_directory):
    release = open_directory().lock()
    with pytest.raises(UsageError, match="in use by another worker"):
        open_directory().lock()
    release()
    open_directory().lock()()


def test_member_id_is_the_same_for_a_slot_and_differs_between_slots():
    process = UUID(int=41)
    assert member_id_of(process, 2) == member_id_of(process, 2)
    assert len({member_id_of(process, slot) for slot in range(5)}) == 5


def test_task_folder_has_one_owner(open_directory):
    first, second = open_directory(), open_directory()
    release = first.lock_task(TASK)
    assert second.lock_task(TASK) is None
    release()
    assert second.lock_task(TASK) is not None


def test_folder_is_deleted_when_its_task_was_away_for_the_delay(open_directory):
    directory = open_directory()
    for task in (TASK, OTHER):
        directory.lock_task(task)()
    cleaner = Cleaner(directory, DELAY_MS)
    assert cleaner.clean([OTHER], 5_000) == []
    assert cleaner.clean([OTHER], 5_000 + DELAY_MS - 1) == []
    assert cleaner.clean([OTHER], 5_000 + DELAY_MS) == [TASK]
    assert directory.tasks() == [OTHER]


def test_coming_back_starts_the_delay_anew(open_directory):
    directory = open_directory()
    directory.lock_task(TASK)()
    cleaner = Cleaner(directory, DELAY_MS)
    cleaner.clean([], 5_000)
    cleaner.clean([TASK], 5_500)
    assert cleaner.clean([], 5_700) == []
    assert cleaner.clean([], 5_700 + DELAY_MS) == [TASK]


def test_folder_of_a_sibling_is_left_alone(open_directory):
    directory = open_directory()
    release = open_directory().lock_task(TASK)
    cleaner = Cleaner(directory, DELAY_MS)
    for now in (5_000, 9_000):
        assert cleaner.clean([], now) == []
    release()
    assert cleaner.clean([], 9_100) == []
    assert cleaner.clean([], 9_100 + DELAY_MS) == [TASK]


def test_what_was_not_written_for_long_is_outdated(open_directory, tmp_path):
    directory = open_directory()
    written_s = {str(TASK): 1_000, str(OTHER): 2_000, "global/0": 1_500, "global/1": 2_500}
    for folder, seconds in written_s.items():
        file = tmp_path / "shop" / folder / "rocksdb" / "000001.sst"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (seconds, seconds))
    directory.lock_task(TaskId(5, 0))()  # an empty folder has no age
    assert directory.delete_outdated(500_000, 2_000_000) == [str(TASK)]
    assert directory.delete_outdated(500_000, 2_000_001) == ["global/0"]
    assert directory.delete_outdated(0, 2_500_000) == [str(OTHER)]
    assert directory.tasks() == [TaskId(5, 0)]
    assert os.listdir(tmp_path / "shop" / "global") == ["1"]


@pytest.mark.parametrize(
    ("age_ms_max", "is_kept"), [("-1", True), ("3600000", True), ("1000", False)]
)
def test_outdated_state_is_deleted_where_the_directory_is_taken(
    open_directory, tmp_path, caplog, age_ms_max, is_kept
):
    directory = open_directory()
    directory.lock_task(TASK)()
    file = tmp_path / "shop" / str(TASK) / "rocksdb"
    file.touch()
    now_s = time.time()
    os.utime(file, (now_s - 60, now_s - 60))
    settings = StreamsSettings.from_mapping({"state.cleanup.dir.max.age.ms": age_ms_max})
    take_directory(directory, settings, system_seams())()
    assert directory.tasks() == ([TASK] if is_kept else [])
    assert ("state.cleanup.dir.max.age.ms=1000 and is deleted" in caplog.text) is not is_kept
