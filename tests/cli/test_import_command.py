import pwd
from pathlib import Path
from typing import Any

import pytest

from callsheet.cli.application import run
from support.waiting import eventually

CORPUS = Path(__file__).parent / "crontabs"
ZONE = ["--zone", "UTC"]


def jobs(shell: Any) -> list[Any]:
    found: list[Any] = shell("jobs", "--json", "--store", "sqlite:///callsheet.db").json
    return found


def test_an_import_stores_each_line_as_a_job_that_can_be_told_by_its_command(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "user.crontab"), *ZONE)

    assert ran.code == 0, ran.err
    assert "12 jobs: 12 new, 0 changed, 0 as they were" in ran.err
    assert f"{CORPUS / 'user.crontab'}:7: note: MAILTO" in ran.err
    assert [row["line"] for row in ran.rows] == ["11", "12", "13", "14", "15", "16", "17", "18", "19", "22", "25", "26"]
    found = {job["name"]: job for job in jobs(shell)}
    assert set(found) == {row["job"] for row in ran.rows}
    assert {"user:rotate", "user:rotate#2"} <= set(found)
    assert all(job["executor"] == "command" and "crontab" in job["tags"] for job in found.values())
    berlin = next(job for name, job in found.items() if "Berlin" in name)
    assert berlin["trigger"] == "At 02:30 every day (Europe/Berlin)."
    reboot = next(job for job in found.values() if "@reboot" in job["tags"])
    assert reboot["next_due"] is None


def test_a_second_import_changes_nothing_and_another_schedule_is_a_change(shell: Any) -> None:
    file = shell.write("table", "0 1 * * * one\n0 2 * * * two\n")
    shell("import", "crontab", "table", *ZONE)

    again = shell("import", "crontab", "table", *ZONE, "--json").json
    file.write_text("# moved down\n\n0 3 * * * one\n0 2 * * * two\n0 4 * * * three\n")
    changed = shell("import", "crontab", "table", *ZONE, "--json").json

    assert [again[key] for key in ("imported", "added", "changed", "same")] == [True, 0, 0, 2]
    assert [changed[key] for key in ("added", "changed", "same")] == [1, 1, 1]
    assert {job["name"]: job["trigger"] for job in jobs(shell)} == {
        "table:one": "At 03:00 every day (UTC).",
        "table:two": "At 02:00 every day (UTC).",
        "table:three": "At 04:00 every day (UTC).",
    }


def test_prune_removes_what_is_no_more_in_the_file_and_nothing_else(shell: Any) -> None:
    shell.write("other", "0 1 * * * one\n")
    file = shell.write("table", "0 1 * * * one\n0 2 * * * two\n")
    shell("import", "crontab", "other", *ZONE)
    shell("import", "crontab", "table", *ZONE)
    file.write_text("0 2 * * * two\n")

    ran = shell("import", "crontab", "table", *ZONE, "--prune", "--json")

    assert ran.json["removed"] == ["table:one"]
    assert [job["name"] for job in jobs(shell)] == ["other:one", "table:two"]


def test_a_file_with_a_wrong_line_is_not_imported_at_all(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "broken.crontab"), *ZONE)

    assert (ran.code, ran.out) == (1, "")
    lines = ran.err.splitlines()
    assert len(lines) == 13
    assert lines[0].startswith(f"{CORPUS / 'broken.crontab'}:3: ")
    assert lines[-1].endswith("12 lines cannot be imported, so nothing was")
    assert not (shell.folder / "callsheet.db").exists()


def test_the_report_of_a_wrong_file_is_json_too(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "broken.crontab"), "--json")

    assert ran.code == 1
    assert (ran.json["imported"], ran.json["added"]) == (False, 0)
    assert [problem["line"] for problem in ran.json["problems"]] == list(range(3, 15))


def test_a_dry_run_stores_nothing(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "user.crontab"), "--dry-run", *ZONE)

    assert ran.code == 0
    assert len(ran.rows) == 12
    assert not (shell.folder / "callsheet.db").exists()


def test_a_system_file_taken_for_a_users_is_doubted(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "etc.crontab"))

    assert ran.code == 1
    assert "say --system" in ran.err


def test_who_has_no_name_in_the_list_of_users_may_import_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tab").write_text("0 2 * * * tidy\n")

    assert run(["import", "crontab", str(tmp_path / "tab"), "--dry-run"]) == 0
    assert "tab:tidy" in capsys.readouterr().out


def test_only_one_users_lines_of_a_system_file_can_be_imported(shell: Any) -> None:
    ran = shell("import", "crontab", str(CORPUS / "etc.crontab"), "--system", "--user", "nobody-of-this-name", "--json")

    assert (ran.code, ran.json["jobs"]) == (0, [])
    assert [note["line"] for note in ran.json["notes"]] == [16, 17, 18, 19, 20, 21]


def test_names_that_are_taken_by_others_are_refused(shell: Any) -> None:
    (shell.folder / "a").mkdir()
    (shell.folder / "b").mkdir()
    shell.write("a/table", "0 1 * * * one\n")
    shell.write("b/table", "0 1 * * * one\n")
    shell("import", "crontab", "a/table")

    refused = shell("import", "crontab", "b/table")
    renamed = shell("import", "crontab", "b/table", "--prefix", "b")

    assert refused.code == 1
    assert "--prefix" in refused.err
    assert renamed.code == 0, renamed.err
    assert [job["name"] for job in jobs(shell)] == ["b:one", "table:one"]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [(None, 4, "no such file"), (b"\xff\xfe\x00", 1, ":1: not UTF-8"), (b"#" * (1024 * 1024 + 1), 1, "is no crontab")],
)
def test_what_is_no_crontab_is_refused(shell: Any, content: bytes | None, code: int, said: str) -> None:
    if content is not None:
        (shell.folder / "table").write_bytes(content)

    ran = shell("import", "crontab", "table")

    assert ran.code == code
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1


def test_imported_commands_run_with_their_environment_folder_and_input(shell: Any, stop: Any) -> None:
    (shell.folder / "place").mkdir()
    text = 'GREETING=good morning\n@yearly echo "$GREETING" > greeting\n@yearly cat > letter%Dear all,%50\\% off\n'
    imported = shell("import", "crontab", "-", "--folder", "place", stdin=text + "@reboot echo up >> started\n")
    assert imported.code == 0, imported.err
    names = [row["job"] for row in imported.rows]
    shell("trigger", *names[:2])

    process = shell.serve("--allow-shell")
    place = shell.folder / "place"
    eventually(
        lambda: all(
            (place / name).exists() and (place / name).read_text() for name in ("greeting", "letter", "started")
        )
    )

    assert (place / "greeting").read_text() == "good morning\n"
    assert (place / "letter").read_text() == "Dear all,\n50% off\n"
    assert stop(process) == 0
    second = shell.serve("--allow-shell")
    eventually(lambda: (place / "started").read_text() == "up\nup\n")
    assert stop(second) == 0


def test_commands_wait_where_they_are_not_allowed(shell: Any, stop: Any) -> None:
    shell.write("table", "@reboot echo up > started\n0 1 * * * echo it > done\n")
    shell("import", "crontab", "table", "--folder", ".")
    job = next(each["name"] for each in jobs(shell) if "@reboot" not in each["tags"])

    process = shell.serve()
    shell("trigger", job)
    rows = shell("runs", "--json").json

    assert [(row["job"], row["state"]) for row in rows] == [(job, "READY")]
    assert "these wait" in shell.text("out0")
    assert stop(process) == 0
    assert not (shell.folder / "done").exists()
    allowed = shell.serve("--allow-shell")
    eventually((shell.folder / "done").exists)
    assert stop(allowed) == 0


def test_a_file_is_imported_into_a_scheduler_that_runs(shell: Any, stop: Any) -> None:
    process = shell.serve("--allow-shell")
    shell.write("table", "0 1 * * * echo it > done\n")

    ran = shell("import", "crontab", "table", "--folder", ".", "--json")
    waited = shell("trigger", ran.json["jobs"][0]["job"], "--wait", "--json")

    assert (ran.code, ran.json["added"]) == (0, 1)
    assert (waited.code, waited.json[0]["state"]) == (0, "SUCCEEDED")
    assert shell.text("done") == "it\n"
    assert stop(process) == 0
