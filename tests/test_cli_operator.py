"""Operators' commands, as a user meets them: on the data of a stopped broker, and on one that runs."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

from tests.admin.test_definitions import FILES, PASSWORDS
from tests.conftest import BrokerProcess, BrokerStarter
from tests.test_cli import mansio_command

pytestmark = pytest.mark.process


class Operator:
    """Runs commands for the broker in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, stdin: str | None = None) -> tuple[int, str, str]:
        """(exit code, output, errors)."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MANSIO_")}
        done = subprocess.run(
            [sys.executable, "-m", "mansio", *words, "--data-dir", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
        )
        return done.returncode, done.stdout, done.stderr

    def do(self, *words: str, stdin: str | None = None) -> str:
        """A command that succeeds; its output."""
        code, output, errors = self(*words, stdin=stdin)
        assert code == 0, errors
        return output

    def rows(self, *words: str) -> Any:
        return json.loads(self.do(*words, "--json"))

    @property
    def note(self) -> str:
        return f"mansio: no broker is running on {self.folder}: changed its data\n"


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "data")


@pytest.fixture
def running(operator: Operator, start_broker: BrokerStarter) -> Iterator[BrokerProcess]:
    yield start_broker("--data-dir", str(operator.folder))


def connect(broker: BrokerProcess, user: str, password: str, vhost: str = "/") -> Any:
    parameters = pika.ConnectionParameters(
        "127.0.0.1", broker.port, vhost, pika.PlainCredentials(user, password)
    )
    return pika.BlockingConnection(parameters)


# -- without a broker


def test_a_broker_is_prepared_before_its_first_start(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    code, output, errors = operator(
        "user", "add", "ann", "--tag", "administrator", "--password-stdin", stdin="secret\nmore"
    )
    assert (code, output, errors) == (0, "", operator.note)
    operator.do("vhost", "add", "shop", "--description", "a shop", "--tag", "t")
    operator.do("permission", "set", "ann", "^a", "", ".*", "-V", "shop")
    operator.do("topic-permission", "set", "ann", "amq.topic", "^w", "^r", "--vhost", "shop")
    operator.do("user", "limit", "ann", "--max-connections", "1")
    operator.do("vhost", "limit", "shop", "--max-queues", "3", "--max-connections", "9")
    operator.do("user", "delete", "guest")
    assert operator.do("user", "list") == (
        "user    tags           password    limits             connections\n"
        "------  -------------  ----------  -----------------  -------------\n"
        "ann     administrator  argon2id    max-connections=1  0\n"
    )
    assert operator.do("permission", "list", "--user", "ann") == (
        "user    vhost    configure    write    read\n"
        "------  -------  -----------  -------  ------\n"
        "ann     shop     ^a                    .*\n"
    )
    assert operator.rows("topic-permission", "list")[0]["read"] == "^r"
    broker = start_broker("--data-dir", str(operator.folder))
    with pytest.raises(ProbableAuthenticationError):
        connect(broker, "guest", "guest")
    connect(broker, "ann", "secret", "shop").close()
    assert operator.rows("vhost", "list")[1]["limits"] == {"max-queues": 3, "max-connections": 9}


def test_messages_stay_as_they_are(operator: Operator, start_broker: BrokerStarter) -> None:
    broker = start_broker("--data-dir", str(operator.folder))
    with connect(broker, "guest", "guest") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        for i in range(50):
            channel.basic_publish("", "q", b"%d" % i, pika.BasicProperties(delivery_mode=2))
    assert broker.stop() == 0
    operator.do("vhost", "add", "other")
    assert operator("vhost", "add", "other")[0] == 1
    assert operator.rows("vhost", "list")[0]["queues"] == 1
    broker = start_broker("--data-dir", str(operator.folder))
    with connect(broker, "guest", "guest") as connection:
        got = [connection.channel().basic_get("q", auto_ack=True) for _ in range(50)]
        assert [body for _, _, body in got] == [b"%d" % i for i in range(50)]
        assert not any(method.redelivered for method, _, _ in got)


def test_what_reads_makes_no_data(operator: Operator) -> None:
    text = f"mansio: no broker is running on {operator.folder}, and there is no data of one\n"
    assert operator("user", "list") == (1, "", text)
    assert operator("definitions", "export") == (1, "", text)
    assert not operator.folder.exists()


def test_who_is_connected_is_asked_of_a_running_broker(operator: Operator) -> None:
    text = f"mansio: no broker is running on {operator.folder}\n"
    assert operator("connection", "list") == (1, "", text)
    assert operator("connection", "close", "--user", "guest") == (1, "", text)


# -- passwords


def test_a_password_is_read_from_a_file(operator: Operator, start_broker: BrokerStarter) -> None:
    file = operator.folder.parent / "password"
    file.write_bytes(b"from a file\r\n")
    operator.do("user", "add", "ann", "--password-file", str(file))
    operator.do("permission", "set", "ann", ".*", ".*", ".*")
    operator.do("user", "passwd", "guest", "--no-password")
    broker = start_broker("--data-dir", str(operator.folder))
    connect(broker, "ann", "from a file").close()
    with pytest.raises(AMQPConnectionError):
        connect(broker, "guest", "guest")


@pytest.mark.parametrize(
    ("words", "stdin", "line"),
    [
        (
            (),
            None,
            "no terminal to ask for a password: give --password-file or --password-stdin",
        ),
        (("--password-stdin",), "", "the password must not be empty"),
        (("--password-stdin",), "x" * 1025, "the password must not have more than 1024 bytes"),
        (("--password-file", "/none"), None, "cannot read /none: No such file or directory"),
    ],
)
def test_a_password_that_cannot_be(
    operator: Operator, words: tuple[str, ...], stdin: str | None, line: str
) -> None:
    assert operator("user", "add", "ann", *words, stdin=stdin) == (1, "", f"mansio: {line}\n")
    assert not operator.folder.exists()


def test_a_password_is_no_argument(operator: Operator) -> None:
    code, _, errors = operator("user", "add", "ann", "secret")
    assert code == 2
    assert "unrecognized arguments: secret" in errors


def ask_on_a_terminal(folder: Path, *answers: str) -> tuple[int, str]:
    """(exit code, what the terminal has shown)."""
    command = [sys.executable, "-m", "mansio", "user", "add", "ann", "--data-dir", str(folder)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    shown = ""
    prompts = ["Password of user ann: ", "Once more: "]
    for prompt, answer in zip(prompts, answers, strict=False):
        while prompt not in shown:
            shown += os.read(terminal, 1024).decode()
        os.write(terminal, f"{answer}\n".encode())
    while True:
        try:
            got = os.read(terminal, 1024).decode()
        except OSError:  # the other end is closed
            break
        if not got:
            break
        shown += got
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def test_a_password_is_asked_for_and_not_shown(operator: Operator) -> None:
    code, shown = ask_on_a_terminal(operator.folder, "hunter2", "hunter2")
    assert (code, "hunter2" in shown) == (0, False)
    assert [row["user"] for row in operator.rows("user", "list")] == ["ann", "guest"]
    code, shown = ask_on_a_terminal(operator.folder, "hunter2", "hunter3")
    assert code == 1
    assert "these were two different passwords" in shown
    code, shown = ask_on_a_terminal(operator.folder, "\x03")  # Ctrl-C
    assert code == 1
    assert "mansio: no password was given" in shown
    assert "Traceback" not in shown


# -- with a broker


def test_changes_hold_at_once(operator: Operator, running: BrokerProcess) -> None:
    assert operator("user", "add", "ann", "--password-stdin", stdin="secret") == (0, "", "")
    with pytest.raises(AMQPConnectionError):
        connect(running, "ann", "secret")
    operator.do("permission", "set", "ann", "", "", "")
    connection = connect(running, "ann", "secret")
    channel = connection.channel()
    (row,) = operator.rows("connection", "list")
    assert (row["user"], row["vhost"], row["channels"]) == ("ann", "/", 1)
    operator.do("permission", "set", "ann", "^q", "", "")
    channel.queue_declare("q")
    operator.do("user", "delete", "ann")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(10)
    assert caught.value.args == (320, "CONNECTION_FORCED - user 'ann' is deleted")
    running.wait_for_log("operator: user delete (name 'ann')")
    assert "secret" not in running.log_text()


def test_a_policy_changes_a_queue_with_messages(operator: Operator, running: BrokerProcess) -> None:
    channel = connect(running, "guest", "guest").channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    for i in range(5):
        channel.basic_publish("", "q", b"%d" % i)
    operator.do("policy", "set", "short", "^q$", '{"max-length": 2}', "--apply-to", "queues")
    assert channel.queue_declare("q", passive=True).method.message_count == 2
    code, _, errors = operator("policy", "set", "bad", "^q$", '{"max-length": -1, "x": 1}')
    line = 'Validation failed: [{<<"x">>,1}] are not recognised policy settings'
    assert (code, errors) == (1, f"mansio: {line}\n")
    operator.do("policy", "set", "most", "", '{"max-length": 9}', "--operator", "--priority", "3")
    (row,) = operator.rows("policy", "list", "--operator", "-V", "/")
    assert (row["policy"], row["priority"]) == ("most", 3)
    operator.do("policy", "clear", "short")
    assert operator.rows("policy", "list") == []


def test_connections_are_closed(operator: Operator, running: BrokerProcess) -> None:
    connection = connect(running, "guest", "guest")
    (row,) = operator.rows("connection", "list")
    closed = operator.rows("connection", "close", row["connection"], "--reason", "enough")
    assert [each["connection"] for each in closed] == [row["connection"]]
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(10)
    assert caught.value.args == (320, "CONNECTION_FORCED - enough")


def test_what_was_answered_is_there_after_a_kill(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    for i in range(3):
        broker = start_broker("--data-dir", str(operator.folder))
        operator.do("user", "add", f"user{i}", "--no-password")
        operator.do("permission", "set", f"user{i}", ".*", f"^{i}", "")
        broker.stop(signal.SIGKILL)
    assert [row["user"] for row in operator.rows("user", "list")] == [
        "guest",
        "user0",
        "user1",
        "user2",
    ]
    writes = {row["user"]: row["write"] for row in operator.rows("permission", "list")}
    assert writes == {"guest": ".*", "user0": "^0", "user1": "^1", "user2": "^2"}


def test_a_broker_that_starts_is_waited_for(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    start_broker.spawn("--port", "0", "--data-dir", str(operator.folder))
    lock = operator.folder / "LOCK"
    deadline = time.monotonic() + 10
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert operator("vhost", "add", "v") == (0, "", "")


def test_a_broker_without_data_is_reached_by_its_folder(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    operator.folder.mkdir()
    broker = start_broker("--in-memory", "--data-dir", str(operator.folder))
    assert operator("vhost", "add", "v") == (0, "", "")
    assert broker.stop() == 0
    assert list(operator.folder.iterdir()) == []


FAULTS: list[tuple[tuple[str, ...], int, str]] = [
    (("user", "delete", "no"), 1, "User 'no' does not exist"),
    (("vhost", "add", "/"), 1, "Virtual host '/' already exists"),
    (("permission", "set", "guest", "*", "", ""), 1, "invalid regular expression '*'"),
    (("user", "limit", "guest"), 2, "give --max-connections or --max-channels"),
    (("definitions", "import", "/none"), 1, "cannot read /none: No such file or directory"),
    (("policy", "set", "p", "q", "{"), 2, "the definition is not JSON: "),
    (("policy", "set", "p", "q", "[]"), 2, "the definition must be an object, such as"),
    (("connection", "close", "x"), 1, "there is no connection 'x'"),
]


def test_a_fault_is_one_line(operator: Operator, running: BrokerProcess) -> None:
    for words, code, line in FAULTS:
        found, output, errors = operator(*words)
        assert (found, output) == (code, "")
        assert errors.startswith(f"mansio: {line}")
        assert errors.count("\n") == 1


def test_settings_that_cannot_be_used_are_told() -> None:
    done = mansio_command("user", "list", "--data-dir", "")
    assert done.returncode == 2
    assert done.stderr == "mansio: data_dir = '' (from --data-dir): must be a path\n"


def test_tables_do_nothing_to_a_terminal(operator: Operator) -> None:
    operator.do("vhost", "add", "v", "--description", "\x1b[31mred")
    assert "\\x1b[31mred" in operator.do("vhost", "list")


# -- definitions


def test_a_file_of_rabbitmq_and_its_old_passwords(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    output = operator.do("definitions", "import", str(FILES / "rabbitmq-3.10.8.json"))
    assert re.search(r"^queues +18 +18$", output, re.MULTILINE)
    assert "skipped, it means nothing here: global parameter 'cluster_name'" in output
    broker = start_broker("--data-dir", str(operator.folder))
    vhosts = {row["user"]: row["vhost"] for row in operator.rows("permission", "list")}
    for user in vhosts.keys() & PASSWORDS.keys():
        connect(broker, user, PASSWORDS[user], vhosts[user]).close()
        with pytest.raises(AMQPConnectionError):
            connect(broker, user, PASSWORDS[user] + "x", vhosts[user])


def test_what_is_exported_is_imported_again(operator: Operator, running: BrokerProcess) -> None:
    before = json.loads(operator.do("definitions", "export"))
    assert [user["name"] for user in before["users"]] == ["guest"]
    operator.do("definitions", "import", str(FILES / "rabbitmq-3.10.8-http.json"))
    file = operator.folder.parent / "export.json"
    assert operator("definitions", "export", str(file)) == (0, "", "")
    assert file.stat().st_mode & 0o777 == 0o600
    other = Operator(operator.folder.parent / "other")
    other.do("definitions", "import", str(file))
    assert json.loads(other.do("definitions", "export")) == json.loads(file.read_text())
    done = json.loads(operator.do("definitions", "import", "-", "--json", stdin=file.read_text()))
    assert {row["changed"] for row in done["sections"]} == {0}


def test_an_import_that_fails_changes_nothing(operator: Operator, running: BrokerProcess) -> None:
    file = operator.folder.parent / "bad.json"
    queue = {"name": "q", "vhost": "v", "durable": True, "auto_delete": False, "arguments": {}}
    bad = queue | {"name": "p", "arguments": {"x-max-length": -1}}
    file.write_text(json.dumps({"vhosts": [{"name": "v"}], "queues": [queue, bad]}))
    line = (
        f"mansio: {file}: queue 'p' in virtual host 'v': invalid arg 'x-max-length' for queue 'p' in vhost 'v': "
        "{value_negative,-1}\n"
    )
    assert operator("definitions", "import", str(file)) == (1, "", line)
    assert [row["vhost"] for row in operator.rows("vhost", "list")] == ["/"]
    file.write_text("{")
    assert operator("definitions", "import", str(file))[2].startswith(f"mansio: {file}: not JSON: ")


# -- settings


def test_definitions_are_imported_at_start(operator: Operator, start_broker: BrokerStarter) -> None:
    settings = ("--data-dir", str(operator.folder))
    definitions = {"MANSIO_DEFINITIONS": str(FILES / "rabbitmq-3.10.8.json")}
    broker = start_broker(*settings, **definitions)
    broker.wait_for_log("skipped of the definitions, since it means nothing here: global parameter")
    connect(broker, "app", PASSWORDS["app"], "shop").close()
    broker.wait_for_log("user 'app': the hash of the password is now one of argon2id")
    assert broker.stop() == 0
    broker = start_broker(*settings, **definitions)
    broker.wait_for_log("rabbitmq-3.10.8.json are imported: 1 users")


def test_bad_definitions_stop_the_start(operator: Operator, start_broker: BrokerStarter) -> None:
    file = operator.folder.parent / "bad.json"
    file.write_text('{"users": [{"name": "a", "password": "hunter2", "tags": 1}]}')
    broker = start_broker.spawn(
        "--port", "0", "--data-dir", str(operator.folder), MANSIO_DEFINITIONS=str(file)
    )
    assert broker.process.wait(10) == 1
    text = f"cannot import the definitions {file}: users[0]: 'tags' must be a list of texts, not 1"
    assert text in broker.log_text()
    assert "hunter2" not in broker.log_text()
    assert "listening" not in broker.log_text()


def test_a_first_user_in_the_place_of_guest(
    operator: Operator, start_broker: BrokerStarter
) -> None:
    secret = operator.folder.parent / "secret"
    secret.write_text("hunter2\n")
    settings = ("--data-dir", str(operator.folder))
    first = {"MANSIO_DEFAULT_USER": "root", "MANSIO_DEFAULT_PASSWORD_FILE": str(secret)}
    broker = start_broker(*settings, **first)
    connect(broker, "root", "hunter2").close()
    with pytest.raises(AMQPConnectionError):
        connect(broker, "guest", "guest")
    assert "hunter2" not in broker.log_text()
    assert broker.stop() == 0
    secret.write_text("another one")
    broker = start_broker(*settings, **first)  # there are users: nothing of it counts any more
    connect(broker, "root", "hunter2").close()
    assert broker.stop() == 0
    again = {"MANSIO_DEFAULT_USER": "root2", "MANSIO_DEFAULT_PASSWORD": "x"}
    start_broker(*settings, **again).stop()
    assert [row["user"] for row in operator.rows("user", "list")] == ["root"]


def test_a_first_user_by_the_environment(start_broker: BrokerStarter) -> None:
    broker = start_broker(
        "--in-memory", MANSIO_DEFAULT_USER="root", MANSIO_DEFAULT_PASSWORD="hunter2"
    )
    connect(broker, "root", "hunter2").close()
    assert "hunter2" not in broker.log_text()
