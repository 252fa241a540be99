"""Who may log in: for now the default user, from this machine only, as RabbitMQ has it."""

from hmac import compare_digest

DEFAULT_USER = "guest"
DEFAULT_PASSWORD = "guest"


class Users:
    """Names and passwords."""

    def __init__(self) -> None:
        self._passwords = {DEFAULT_USER: DEFAULT_PASSWORD}

    def check(self, name: str, password: str, loopback: bool) -> str | None:
        """None when the user may log in, otherwise the reason for the log: the peer is told no more than 'refused'."""
        known = self._passwords.get(name, "")
        same = compare_digest(known.encode(), password.encode("utf-8", "surrogateescape"))
        if name not in self._passwords or not same:
            return f"user '{name}' is unknown or the password is wrong"
        if name == DEFAULT_USER and not loopback:
            return f"user '{name}' can only connect via localhost"
        return None
