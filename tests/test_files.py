"""Whole files, one writer, and what a killed writer leaves."""

import errno
import fcntl
import os
import signal
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_reid import files
from st_reid.errors import UserError
from st_reid.files import (
    LOCK,
    PARTIAL,
    folder_written_whole,
    locked,
    partial_path,
    remove_left_in,
    write_text,
    written_whole,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.01)


def in_a_fork(action):
    """Run ``action`` in a forked process and return its exit status, minus the number of the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_second_writer_is_told_who_the_first_is(tmp_path):
    output = tmp_path / "not" / "there" / "yet"
    with locked(output):
        said = (
            rf"{output} is being written by process {os.getpid()} on [\w.-]+ since 20\S+ \S+; wait .* another --output"
        )
        with pytest.raises(UserError, match=said), locked(output):
            pass
        assert in_a_fork(lambda: locked(output).__enter__()) == 1
        with locked(output.with_name("yet.npz")), locked(output.parent):
            pass  # other outputs
    assert list(tmp_path.iterdir()) == [], "nothing was written, and nothing is left"


def test_ways_to_one_output(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / "real" / "run"):
        for same in ("real/run", "link/run", "real/../link/./run"):
            with pytest.raises(UserError, match="is being written"), locked(same):
                pass
    (tmp_path / "run").symlink_to("real/run")
    with locked("real/run"), pytest.raises(UserError, match="is being written"), locked("run"):
        pass


def test_a_dead_holder_frees_it(tmp_path):
    def die():
        with locked(tmp_path / "run"):
            if os.fork() == 0:  # as the workers of a loader, which live on for a while
                time.sleep(2)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_fork(die) == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == [f".run{LOCK}"]
    with locked(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_in_the_output_where_nothing_can_be_written_beside_it(tmp_path, monkeypatch):
    (tmp_path / "mounted").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    with locked(tmp_path / "mounted"):
        assert [p.name for p in tmp_path.rglob("*")] == ["mounted", f".mounted{LOCK}"]
    with pytest.raises(UserError, match="cannot be made"), locked(tmp_path / "other"):
        pass


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks(error, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run"):
        if error == errno.ENOSYS:  # filelock has another way
            with pytest.raises(UserError, match="is being written by "), locked(tmp_path / "run"):
                pass
        else:
            assert "no locks on its file system" in caplog.text
    assert not any(p.name == "run" for p in tmp_path.iterdir())


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_a_planted_lock_is_not_written_through(plant, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    getattr(tmp_path / f".run{LOCK}", plant)(treasure)
    try:
        with locked(tmp_path / "run"):
            pass
    except (UserError, OSError):
        assert plant == "symlink_to"
    assert treasure.read_text() == "mine"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    def die(name):
        with locked(tmp_path / name), folder_written_whole(tmp_path / name) as partial:
            (partial / "half").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("run", "run.npz", "[ru]n"):
        assert in_a_fork(lambda name=name: die(name)) == -signal.SIGKILL
    (tmp_path / ".run.partial-12345678").write_text("of another program")
    (tmp_path / f"target{PARTIAL}12345678").mkdir()
    (tmp_path / f".run{PARTIAL}abcdefgh").symlink_to(tmp_path / f"target{PARTIAL}12345678")
    before = {p.name for p in tmp_path.iterdir()}
    with locked(tmp_path / "run"):
        removed = before - {p.name for p in tmp_path.iterdir()}
    assert len(removed) == 1
    assert removed.pop().startswith(f".run{PARTIAL}")
    with locked(tmp_path / "run.npz"), partial_path(tmp_path / "run.npz") as alive:
        alive.write_text("")
        remove_left_in(tmp_path)
        assert alive.exists(), "its writer lives"
    remove_left_in(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        ".run.partial-12345678",
        f"target{PARTIAL}12345678",
        f".run{PARTIAL}abcdefgh",
    }


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(NAMES, st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=8, max_size=8))
def test_a_partial_folder_belongs_to_one_output(name, random):
    path = files.Path("folder") / f".{name}{PARTIAL}{random}"
    assert files._output_of(path) == name
    assert files._output_of(files.Path(f".{path.name}{PARTIAL}{random}")) == path.name
    assert files._output_of(files.Path(f".{name}{LOCK}")) == name
    assert files._output_of(files.Path(name.replace(PARTIAL, "").replace(LOCK, "") or "x")) is None


def test_a_planted_link_is_replaced_and_not_followed(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    (tmp_path / "out.txt").symlink_to(treasure)
    write_text("new", tmp_path / "out.txt")
    assert treasure.read_text() == "mine"
    assert (tmp_path / "out.txt").read_text() == "new"
    assert not (tmp_path / "out.txt").is_symlink()


def test_a_new_folder_is_not_a_link_to_nothing(tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="new exists"):
        files.check_new_folder(tmp_path / "new")


def test_nobody_else_sees_it_before_it_is_whole_and_all_who_may_do_then(tmp_path):
    before = os.umask(0o027)
    try:
        names = set()
        for _ in range(20):
            with written_whole(tmp_path / "out.txt") as file:
                own = files.Path(file.name).parent
                names.add(own.name)
                assert stat.S_IMODE(own.stat().st_mode) == 0o700
                file.write(b"x")
        assert len(names) == 20, "they cannot be guessed"
        assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o640
        with folder_written_whole(tmp_path / "out"):
            pass
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    finally:
        os.umask(before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.txt"]


def test_a_full_disk_names_the_path_and_keeps_what_was_there(disk_of):
    small_disk = disk_of("64k")
    write_text("before", small_disk / "out.txt")
    with pytest.raises(OSError, match="No space left") as caught:
        write_text("x" * 100_000, small_disk / "out.txt")
    assert caught.value.filename == str(small_disk / "out.txt")
    with pytest.raises(OSError, match="No space left") as caught, locked(small_disk / "run"):  # noqa: SIM117
        with folder_written_whole(small_disk / "run") as partial:
            (partial / "picture.png").write_bytes(b"x" * 100_000)
    assert caught.value.filename == str(small_disk / "run")
    assert [(p.name, p.read_text()) for p in small_disk.iterdir()] == [("out.txt", "before")]
