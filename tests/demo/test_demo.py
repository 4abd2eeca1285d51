"""The demonstration: its input, its checks, and a complete run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alignai._console import print_table
from alignai._events import schemas, wire
from alignai.collector.collector import Collector, Delivery
from alignai.demo import conversations, demo
from alignai.demo.conversations import InputError, Script, Step
from alignai.demo.scenario import DeliveryCheck, Report, Scenario, ScenarioPlan, WorkerError, check_deliveries

DIALOGUES = Path(__file__).parents[1] / "data" / "dialogues.jsonl"
QUICK = ScenarioPlan(stream_seconds=1.0, outage_seconds=0.3)


def a_line(*messages: object) -> bytes:
    return json.dumps({"messages": messages}).encode()


def a_message(content: object, role: object = "user") -> dict[str, object]:
    return {"role": role, "content": content}


def delivered(step: Step, request_id: str = "r1") -> Delivery:
    arguments = schemas.load(step.method, step.arguments)
    now = datetime(2026, 11, 23, tzinfo=UTC)
    event = wire.build(step.method, arguments, project_id="demo", event_id=step.event_id, now=now)
    return Delivery(request_id, step.event_id, event)


def a_script() -> Script:
    return conversations.read([a_line(a_message("Hi"), a_message("Hello!", "assistant"))])


def ids(script: Script) -> list[str]:
    return [step.event_id for step in script.steps]


def run_demo(*arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    # A foreign configuration, which a demonstration may not listen to.
    environment = os.environ | {"TMPDIR": str(temporary), "ALIGNAI_DISABLED": "1", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-m", "alignai.demo", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def figures(output: str) -> dict[str, str]:
    """The rows of the table, as rich or plain text draws them."""
    cells = [line.strip(" │┃|").replace("│", "  ").rsplit("  ", 1) for line in output.splitlines() if "  " in line]
    return {what.strip(): figure.strip() for what, figure in (cell for cell in cells if len(cell) == 2)}


def test_a_conversation_becomes_a_session_of_steps() -> None:
    script = a_script()

    assert script == Script(
        (
            Step("session-0001-0001", "identify_user", {"user_id": "user-0001"}),
            Step("session-0001-0002", "open_session", {"session_id": "session-0001", "user_id": "user-0001"}),
            Step(
                "session-0001-0003",
                "create_message",
                {"session_id": "session-0001", "message_index": 1, "role": "user", "content": "Hi"},
            ),
            Step(
                "session-0001-0004",
                "create_message",
                {"session_id": "session-0001", "message_index": 2, "role": "assistant", "content": "Hello!"},
            ),
            Step("session-0001-0005", "close_session", {"session_id": "session-0001"}),
        ),
        sessions=1,
        skipped=0,
    )


def test_other_roles_and_messages_without_text_are_skipped_and_counted() -> None:
    others = [a_message("x", role) for role in ("system", "developer", "tool")]
    script = conversations.read([a_line(*others, a_message(None, "assistant"), a_message(""), a_message("Hi"))])

    assert (script.skipped, script.sessions, len(script.steps)) == (5, 1, 4)


def test_a_conversation_without_anything_to_record_is_no_session() -> None:
    script = conversations.read([a_line(a_message("x", "system")), a_line(), a_line(a_message("Hi"))])

    assert (script.skipped, script.sessions) == (1, 1)


def test_the_text_parts_of_a_content_are_joined() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "cat"}]
    script = conversations.read([a_line(a_message(parts))])

    assert script.steps[2].arguments["content"] == "a cat"


def test_blank_lines_carriage_returns_and_byte_order_marks_are_accepted() -> None:
    script = conversations.read([b"\xef\xbb\xbf" + a_line(a_message("Hi")) + b"\r", b"", b"  \r"])

    assert script.sessions == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{", "line 2: not a JSON object in UTF-8"),
        (b"\xff", "line 2: not a JSON object in UTF-8"),
        (b"[" * 100_000, "line 2: not a JSON object in UTF-8"),
        (b"[]", 'line 2: not an object with a list under "messages"'),
        (b'{"messages": {}}', 'line 2: not an object with a list under "messages"'),
        (a_line("private"), 'line 2, message 1: not an object with a text under "role"'),
        (a_line(a_message("private", 7)), 'line 2, message 1: not an object with a text under "role"'),
        (
            a_line(a_message("Hi"), a_message(7)),
            "line 2, message 2: the content is neither a string, null nor a list of parts",
        ),
        (a_line(a_message(["private"])), "line 2, message 1: a part of the content is not an object"),
        (a_line(a_message([{"type": "text"}])), "line 2, message 1: a part of the content is not an object"),
        (a_line(a_message("private \ud83d")), "line 2: "),
    ],
)
def test_a_broken_line_is_named_without_its_contents(line: bytes, fault: str) -> None:
    with pytest.raises(InputError) as refused:
        conversations.read([a_line(a_message("Hi")), line])

    assert str(refused.value).startswith(fault)
    assert "private" not in str(refused.value)


def test_an_input_with_nothing_to_record_is_refused() -> None:
    with pytest.raises(InputError, match="no line holds a message"):
        conversations.read([b"", a_line()])


def test_the_built_in_conversations_and_those_of_the_tests_are_a_few_dozen() -> None:
    sessions = [
        conversations.read(lines).sessions for lines in (conversations.sample(), DIALOGUES.read_bytes().splitlines())
    ]

    assert sessions == [40, 36]


def test_every_event_id_of_a_script_is_its_own() -> None:
    known = ids(conversations.read(DIALOGUES.read_bytes().splitlines()))

    assert len(known) == len(set(known))


def test_acknowledged_and_delivered_events_are_counted_as_such() -> None:
    script = a_script()
    check = check_deliveries(script.steps, ids(script), [delivered(step) for step in script.steps])

    assert check == DeliveryCheck(acknowledged=5, delivered=5, lost=(), delivered_twice=0)


def test_an_acknowledged_event_that_did_not_arrive_is_lost() -> None:
    script = a_script()
    check = check_deliveries(
        script.steps, ids(script), [delivered(step) for step in script.steps[:3] + script.steps[4:]]
    )

    assert check == DeliveryCheck(acknowledged=5, delivered=4, lost=("session-0001-0004",), delivered_twice=0)


def test_an_event_that_arrived_changed_is_lost() -> None:
    script = a_script()
    step = script.steps[2]
    altered = replace(step, arguments=step.arguments | {"content": "Ho"})
    check = check_deliveries(script.steps, [step.event_id], [delivered(altered)])

    assert check.lost == (step.event_id,)


def test_an_event_delivered_three_times_is_one_delivered_twice() -> None:
    script = a_script()
    step = script.steps[2]
    check = check_deliveries(
        script.steps, [step.event_id], [delivered(step), delivered(step, "r2"), delivered(step, "r2")]
    )

    assert (check.delivered, check.delivered_twice) == (1, 1)


def test_an_event_that_arrives_before_its_acknowledgement_is_delivered() -> None:
    script = a_script()
    check = check_deliveries(script.steps, [], [delivered(script.steps[0])])

    assert check == DeliveryCheck(acknowledged=0, delivered=1, lost=(), delivered_twice=0)


def test_a_worker_that_fails_by_itself_ends_the_run(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "raise SystemExit(3)")
    scenario = Scenario(a_script(), Collector(), tmp_path, broken, plan=QUICK)

    with pytest.raises(WorkerError, match="exit code 3"):
        scenario.run()


def test_a_failed_run_is_reported_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = (sys.executable, "-c", "raise SystemExit(3)")
    code = demo.run(Scenario(a_script(), Collector(), tmp_path, broken, plan=QUICK))

    assert (code, capsys.readouterr().out) == (1, "failed: the worker ended by itself with exit code 3\n")


def test_a_worker_that_acknowledges_something_else_ends_the_run(tmp_path: Path) -> None:
    liar = (sys.executable, "-c", "print('session-0001-0002', 1.0)")
    scenario = Scenario(a_script(), Collector(), tmp_path, liar, plan=QUICK)

    with pytest.raises(WorkerError, match="out of turn"):
        scenario.run()


def test_an_acknowledgement_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    """A killed worker may leave half a line. The next one starts at its step."""
    cut_off = (sys.executable, "-c", "print('session-0001-0001', 1.0); print('session-0001-00', end='')")
    report = Scenario(a_script(), Collector(), tmp_path, cut_off, plan=QUICK).run()

    assert report.check.acknowledged == 1


def test_a_worker_that_acknowledges_without_recording_is_found_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The check uses the events that arrived, so a worker that only claims to record fails the demonstration."""
    script = a_script()
    claims = "import sys; [print(f'session-0001-{n:04}', 1.0) for n in range(int(sys.argv[2]) + 1, 6)]"
    scenario = Scenario(script, Collector(api_key="key"), tmp_path, (sys.executable, "-c", claims), plan=QUICK)

    assert demo.run(scenario) == 1
    assert figures(capfd.readouterr().out)["events lost"] == "5"


class Forgetful(Collector):
    """Answers for all it takes, then forgets the fourth event."""

    @property
    def received(self) -> tuple[Delivery, ...]:
        return tuple(delivery for delivery in super().received if delivery.event_id != "session-0001-0004")


@pytest.mark.parametrize(("kind", "expected"), [(Forgetful, (1, "1")), (Collector, (0, "0"))])
def test_the_exit_code_tells_whether_an_acknowledged_event_is_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: type[Collector], expected: tuple[int, str]
) -> None:
    scenario = Scenario(a_script(), kind(api_key="key"), tmp_path, demo.WORKER, plan=QUICK)
    code = demo.run(scenario)

    assert (code, figures(capfd.readouterr().out)["events lost"]) == expected


def test_the_demonstration_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_demo("--input", str(DIALOGUES), temporary=tmp_path)
    counted = figures(done.stdout)
    steps = str(len(conversations.read(DIALOGUES.read_bytes().splitlines()).steps))

    assert done.returncode == 0, done.stderr
    assert [counted[f"events {what}"] for what in ("acknowledged", "delivered", "lost")] == [steps, steps, "0"]
    assert (counted["sessions"], counted["worker killed"]) == ("36", "1 x")
    assert float(counted["server down"].removesuffix(" s")) >= 3.0
    assert list(tmp_path.glob("alignai-demo-*")) == []


def test_a_broken_input_line_exits_with_2_and_names_the_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(b"\n".join([a_line(a_message("Hi")), a_line(a_message("Ho")), b"{"]))
    done = run_demo("--input", str(broken), temporary=tmp_path)

    assert done.returncode == 2
    assert f"{broken}: line 3: not a JSON object in UTF-8" in done.stderr


def test_a_missing_input_exits_with_2(tmp_path: Path) -> None:
    done = run_demo("--input", str(tmp_path / "none.jsonl"), temporary=tmp_path)

    assert (done.returncode, "No such file" in done.stderr) == (2, True)


def test_a_kept_folder_is_named_and_still_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with demo._folder(keep=True) as folder:
        (folder / "spool.db").touch()

    assert capsys.readouterr().out == f"kept: {folder}\n"
    (folder / "spool.db").unlink()
    folder.rmdir()


def test_the_table_says_what_was_counted(capsys: pytest.CaptureFixture[str]) -> None:
    check = DeliveryCheck(acknowledged=5, delivered=4, lost=("x",), delivered_twice=2)
    print_table(Report(a_script(), check, (10.0, 20.0, 400.4), kills=1, seconds_down=3.04).rows())
    counted: dict[str, Any] = figures(capsys.readouterr().out)

    assert (counted["median call"], counted["worst call"], counted["server down"]) == ("20 µs", "400 µs", "3.0 s")
    assert (counted["events lost"], counted["events delivered twice (told by their ids)"]) == ("1", "2")
