"""Settings: precedence, kinds of value, and what the faults say."""

from pathlib import Path

import pytest

from mansio.config import Config, ConfigError, load
from mansio.config_settings import SETTINGS
from mansio.config_values import MIB, curve_key, curve_text
from mansio.core.limits import NS, Limits
from mansio.protocol.resp.connection import DATABASES


def fault(options: dict[str, object] | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(options or {}, environ)
    return str(caught.value)


def test_defaults_without_any_source() -> None:
    assert load({}, {}) == Config()
    assert (Config().bind, Config().port) == ("127.0.0.1", 5672)


def test_every_field_has_a_row_and_its_default_is_allowed() -> None:
    fields = set(Config.__dataclass_fields__) - {"notes", "chosen", "default_password"}
    assert fields == set(SETTINGS)
    for key, setting in SETTINGS.items():
        default = getattr(Config(), key)
        assert setting.parse(default) == default, key


def test_defaults_are_those_of_the_core() -> None:
    core, config = Limits(), Config()
    assert config.handshake_timeout_s * NS == core.handshake_ns
    assert config.redis_databases == DATABASES
    bounds = ("frame_max", "channel_max", "heartbeat_s", "message_bytes_max", "connections_max")
    for key in (*bounds, "server_product", "server_version"):
        assert getattr(config, key) == getattr(core, key), key


def test_option_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text('port = 1\nheartbeat_s = 2\nlog_level = "error"\n')
    environ = {"MANSIO_PORT": "11", "MANSIO_HEARTBEAT_S": "12"}
    config = load({"port": "111", "bind": None}, environ, str(file))
    assert (config.port, config.heartbeat_s, config.log_level) == (111, 12, "error")
    assert config.frame_max == Config().frame_max


def test_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text("port = 1234\n")
    assert load({}, {"MANSIO_CONFIG": str(file)}).port == 1234


def test_what_was_chosen_is_known_also_where_it_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text("bind = '127.0.0.1'\n")
    config = load({"port": "5672", "sync": None}, {"MANSIO_REDIS_PORT": "6379"}, str(file))
    assert config == Config() and config.chosen == {"bind", "port", "redis_port"}
    assert load({}, {}).chosen == frozenset()


def test_nobody_need_be_a_redis_client_without_a_password() -> None:
    assert load({}, {"MANSIO_REDIS_USER": "None"}).redis_user == ""
    assert load({}, {"MANSIO_REDIS_USER": "app"}).redis_user == "app"


def test_databases_of_redis_clients_are_virtual_hosts(tmp_path: Path) -> None:
    databases = load({}, {"MANSIO_REDIS_DATABASES": "0=orders, 15 = /"}).redis_databases
    assert databases == ("orders", *map(str, range(1, 15)), "/")
    file = tmp_path / "mansio.toml"
    file.write_text("[redis_databases]\n0 = 'a,b'\n")
    assert load({}, {}, str(file)).redis_databases[:2] == ("a,b", "1")
    for wrong in ("orders", "16=/", "-1=/", "1=", "one=/"):
        assert "(from environment" in fault(MANSIO_REDIS_DATABASES=wrong)
    file.write_text("redis_databases = 3\n")
    with pytest.raises(ConfigError, match="pairs NUMBER=VIRTUALHOST"):
        load({}, {}, str(file))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("64KiB", 65536), ("128 MiB", 128 * MIB), ("1.5mb", 1_500_000), ("7", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert load({"message_bytes_max": text}, {}).message_bytes_max == size


@pytest.mark.parametrize("text", ["", "MiB", "12 parsecs", "-1", "0", "513MiB", "1e9", "0x10"])
def test_sizes_that_are_none(text: str) -> None:
    assert "message_bytes_max" in fault({"message_bytes_max": text})


@pytest.mark.parametrize("text", ["4", "v4.0", "", "4.", "4.0 beta", ".1"])
def test_versions_that_are_none(text: str) -> None:
    assert "a version such as 3.13.7" in fault({"server_version": text})


@pytest.mark.parametrize("text", ["4.0", "3.13.7", "4.3.0-rc.1", "3.13.7+mansio"])
def test_versions(text: str) -> None:
    assert load({"server_version": text}, {}).server_version == text


@pytest.mark.parametrize(
    ("text", "value"), [("0.6", 0.6), ("1.0", 1.0), ("2GiB", 2 << 30), ("536870912", 1 << 29)]
)
def test_watermark_is_a_fraction_or_a_size(text: str, value: float) -> None:
    found = load({}, {"MANSIO_MEMORY_HIGH_WATERMARK": text}).memory_high_watermark
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize("text", ["0", "0.0", "1.5", "-0.5", "nan", "2MiB", "60%"])
def test_watermark_that_is_none(text: str) -> None:
    assert "a fraction such as 0.6" in fault({"memory_high_watermark": text})


def test_fault_names_key_origin_value_and_what_is_allowed() -> None:
    assert fault(MANSIO_PORT="99999") == (
        "port = '99999' (from environment variable MANSIO_PORT):"
        " must be a whole number from 0 to 65535"
    )
    assert fault({"log_level": "loud"}) == (
        "log_level = 'loud' (from --log-level): must be one of debug, info, warning, error"
    )


def test_kinds_of_toml_are_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text("port = true\nbind = 5\nhandshake_timeout_s = [1]\n")
    with pytest.raises(ConfigError) as caught:
        load({}, {}, str(file))
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == ["port", "bind", "handshake_timeout_s"]
    assert f"(from {file})" in lines[0]


def test_unknown_key_of_a_file_is_a_fault_with_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text("prot = 5672\n[colours]\nx = 1\n")
    with pytest.raises(ConfigError) as caught:
        load({}, {}, str(file))
    assert str(caught.value).splitlines() == [
        f"unknown key 'colours' (in {file})",
        f"unknown key 'prot' (in {file}); did you mean 'port'?",
    ]


def test_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the file .*: No such file"):
        load({}, {}, str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("port 5672")
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 1"):
        load({}, {}, str(broken))


def test_variables_of_others_are_left_alone() -> None:
    environ = {
        "MANSIO_PORT": "tcp://10.0.0.1:5672",
        "MANSIO_SERVICE_HOST": "10.0.0.1",
        "MANSIO_HEARTBEATS": "5",
        "MANSIO_PURE": "1",
        "MANSIO_BIND": "",
    }
    config = load({}, environ)
    assert config == Config()
    assert config.notes == (
        "ignoring the environment variable MANSIO_HEARTBEATS; did you mean 'heartbeat_s'?",
        "ignoring MANSIO_PORT=tcp://10.0.0.1:5672: it is the address of a Kubernetes service",
    )


def test_tls_settings_that_need_each_other() -> None:
    assert fault({"tls_port": "5671"}) == (
        "tls_port needs a certificate: set tls_cert and tls_key; `mansio tls dev-ca` makes some"
    )
    with_cert = {"tls_port": "5671", "tls_cert": "server.pem"}
    assert load(with_cert, {}).tls_port == 5671
    assert "tls_verify = required needs tls_ca" in fault(with_cert | {"tls_verify": "required"})
    assert fault({"tls_only": True}) == "tls_only needs tls_port"
    assert fault({"redis_tls_port": "6380"}).startswith("redis_tls_port needs a certificate: ")


def test_a_version_may_be_a_number(tmp_path: Path) -> None:
    file = tmp_path / "mansio.toml"
    file.write_text("tls_min_version = 1.3\n")
    assert load({}, {}, str(file)).tls_min_version == "1.3"
    assert "must be 1.2 or 1.3" in fault(MANSIO_TLS_MIN_VERSION="1.1")


def test_readme_lists_every_setting_with_its_default() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    rows = {
        cells[1].strip("` "): cells[2].strip("` ")
        for line in readme.splitlines()
        if len(cells := line.split("|")) >= 5 and cells[1].strip("` ") in SETTINGS
    }
    assert set(rows) == set(SETTINGS)
    for key, default in rows.items():
        assert SETTINGS[key].parse(default) == getattr(Config(), key), key


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        (
            {"MANSIO_DEFAULT_USER": "root"},
            "default_user = 'root' needs a password: default_password_file, or MANSIO_DEFAULT_PASSWORD",
        ),
        (
            {"MANSIO_DEFAULT_PASSWORD": "hunter2"},
            "MANSIO_DEFAULT_PASSWORD is set, but default_user is not: whose password is it?",
        ),
        (
            {"MANSIO_DEFAULT_PASSWORD_FILE": "f"},
            "default_password_file is set, but default_user is not: whose password is it?",
        ),
        (
            {
                "MANSIO_DEFAULT_USER": "root",
                "MANSIO_DEFAULT_PASSWORD": "hunter2",
                "MANSIO_DEFAULT_PASSWORD_FILE": "f",
            },
            "default_password_file and MANSIO_DEFAULT_PASSWORD are both set: one of them must go",
        ),
    ],
)
def test_a_user_and_a_password_belong_together(environ: dict[str, str], text: str) -> None:
    assert fault(**environ) == text


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    config = load({}, {"MANSIO_DEFAULT_USER": "root", "MANSIO_DEFAULT_PASSWORD": "hunter2"})
    assert config.default_password == "hunter2"
    assert "hunter2" not in repr(config)
    assert config.notes == ()
    file = tmp_path / "mansio.toml"
    file.write_text('default_password = "hunter2"\n')
    with pytest.raises(ConfigError) as caught:
        load({}, {}, str(file))
    assert "hunter2" not in str(caught.value)


KEY, OTHER = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
"""Those of RFC 26."""


def test_keys_of_zeromq_sockets(tmp_path: Path) -> None:
    raw = bytes.fromhex("BB88471D65E2659B30C55A5321CEBB5AAB2B70A398645C26DCA2B2FCB43FC518")
    assert curve_key("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID") == raw
    assert curve_text(raw) == "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
    with_key = {"zmq_curve_secret_key_file": "k"}
    users = load(with_key | {"zmq_curve_users": f"ann={KEY}, b=b={OTHER}"}, {}).zmq_curve_users
    assert users == ((curve_key(KEY), "ann"), (curve_key(OTHER), "b=b"))
    file = tmp_path / "mansio.toml"
    file.write_text(
        f"zmq_curve_secret_key_file = 'k'\n[zmq_curve_users]\nann = ['{KEY}', '{OTHER}']\n"
    )
    assert dict(load({}, {}, str(file)).zmq_curve_users) == dict.fromkeys(
        (curve_key(KEY), curve_key(OTHER)), "ann"
    )


@pytest.mark.parametrize(
    "value",
    [f"ann:{KEY}", f"={KEY}", KEY, f"ann={KEY[:-1]}", f"ann={'#' * 40}", f"ann={KEY},bob={KEY}", 3],
)
def test_keys_that_are_none(value: object) -> None:
    assert "zmq_curve_users = " in fault({"zmq_curve_users": value})


def test_keys_of_clients_need_one_of_the_broker() -> None:
    assert "needs zmq_curve_secret_key_file" in fault({"zmq_curve_users": f"ann={KEY}"})
    assert "needs zmq_curve_secret_key_file" in fault({"zmq_curve_only": "true"})
