"""What TLS costs: the same loads with TLS and without, in turns, on the same broker.

The certificate is that of `mansio tls dev-ca` (ECDSA, P-256) for all brokers, and they agree with the generator on
AES-256-GCM with TLS 1.3. The generator encrypts, too, on what the broker leaves of the cores. A handshake is that of a
client which checks the certificate; without TLS it is only a connection that says nothing.
"""

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import disk, load, machine, peers, procfs, report
from bench.run import QUIET, prepare_process, say
from bench.scenarios import CONFIRMS, TRANSIENT, Sample, disturbance, medians, sample_of

DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
HANDSHAKES = 300
LOADS = {
    "256 B transient, 1 → 1, auto-ack": (*TRANSIENT, "--size", "256"),
    "256 B, confirms (window 1000), prefetch 1000, ack each": CONFIRMS,
    "16 KiB transient, 1 → 1, auto-ack": (*TRANSIENT, "--size", "16384"),
    "16 KiB, confirms (window 1000), prefetch 1000, ack each": (*CONFIRMS, "--size", "16384"),
}
RABBITMQ_TLS = """\
listeners.ssl.default = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
"""


class TlsMansio(peers.Mansio):
    """With a second port, for TLS."""

    tls_port = 0

    def prepare(self) -> None:
        super().prepare()
        self.tls_port = peers.free_port()
        make_certificates(self._folder)

    def command(self) -> list[str]:
        files = (
            "--tls-cert",
            f"{self._folder}/server.pem",
            "--tls-key",
            f"{self._folder}/server.key",
        )
        return [*super().command(), "--tls-port", str(self.tls_port), *files]

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self._folder / "ca.pem"


class TlsRabbitMQ(peers.RabbitMQ):
    """The same of RabbitMQ."""

    tls_port = 0

    def prepare(self) -> None:
        super().prepare()
        self.tls_port = peers.free_port()
        make_certificates(self._folder)
        text = RABBITMQ_TLS.format(port=self.tls_port, folder=self._folder)
        with (self._folder / "rabbitmq.conf").open("a") as file:
            file.write(text)

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self._folder / "ca.pem"


PEERS: dict[str, type[TlsMansio] | type[TlsRabbitMQ]] = {
    "mansio": TlsMansio,
    "rabbitmq": TlsRabbitMQ,
}


@dataclass(slots=True)
class Outcome:
    """Of one broker: results by load, without TLS and with it; CPU in microseconds of connections."""

    plain: dict[str, list[load.Result]] = field(default_factory=dict)
    tls: dict[str, list[load.Result]] = field(default_factory=dict)
    connect_us: dict[str, list[float]] = field(default_factory=lambda: {"plain": [], "tls": []})

    def results(self) -> list[load.Result]:
        """All of them."""
        return [one for kind in (self.plain, self.tls) for runs in kind.values() for one in runs]


def make_certificates(folder: Path) -> None:
    """In a folder. Errors: LoadError."""
    line = [sys.executable, "-m", "mansio", "tls", "dev-ca", "--dir", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise load.LoadError(done.stderr.strip())


def run_load(peer: TlsMansio | TlsRabbitMQ, name: str, seconds: float, outcome: Outcome) -> None:
    """Once without TLS and once with it. Errors: LoadError."""
    ways = ((outcome.plain, peer.port, ()), (outcome.tls, peer.tls_port, ("--tls", str(peer.ca))))
    for kept, port, how in ways:
        disk.settle()
        span = ("--duration", f"{seconds:g}", "--purge", "--delete", "--verify")
        result = load.run(port, peer.pids(), (*LOADS[name], *span, *how))
        if not result["ok"]:
            raise load.LoadError(f"{peer.name} lost messages")
        kept.setdefault(name, []).append(result)


def connect(peer: TlsMansio | TlsRabbitMQ, outcome: Outcome) -> None:
    """Connections one after the other, and what each costs the broker."""
    context = ssl.create_default_context(cafile=peer.ca)
    for kind, port in (("plain", peer.port), ("tls", peer.tls_port)):
        before = procfs.cpu_s(peer.pids())
        for _ in range(HANDSHAKES):
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                if kind == "tls":
                    context.wrap_socket(sock, server_hostname="localhost").close()
        time.sleep(0.1)
        used = procfs.cpu_s(peer.pids()) - before
        outcome.connect_us[kind].append(used / HANDSHAKES * 1e6)


def render(outcomes: dict[str, Outcome]) -> str:
    """A table of medians, and a line on handshakes for each broker."""
    rows = []
    for name in LOADS:
        for peer, outcome in outcomes.items():
            plain, tls = (middle(kind[name]) for kind in (outcome.plain, outcome.tls))
            cells = [cell for one in (plain, tls) for cell in cells_of(one)]
            ratios = [f"{tls.per_s / plain.per_s:.2f}", f"{tls.cpu_us / plain.cpu_us:.2f}"]
            rows.append([name, peer, *cells, *ratios])
    head = ("", "", "msg/s", "CPU µs", "with TLS: msg/s", "CPU µs", "× msg/s", "× CPU")
    lines = [
        f"- A handshake takes {handshake_us(outcome) / 1e3:.2f} ms of {peer}'s CPU time."
        for peer, outcome in outcomes.items()
    ]
    return report.table(head, rows, range(2, 8)) + "\n\n" + "\n".join(lines) + "\n"


def middle(results: list[load.Result]) -> Sample:
    """The medians of several runs."""
    return medians(sample_of(one, 1) for one in results)


def cells_of(one: Sample) -> list[str]:
    """Of a table."""
    return [report.rate_text(one.per_s), report.cpu_text(one.cpu_us)]


def handshake_us(outcome: Outcome) -> float:
    """CPU time beyond that of a connection without TLS."""
    return median(outcome.connect_us["tls"]) - median(outcome.connect_us["plain"])


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bench.tls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of runs of each kind, in turns (5)")
    parser.add_argument("--peer", choices=tuple(PEERS), action="append")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write the raw results here")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Exit status: 0 there is a result, 2 there is none."""
    chosen = options(arguments)
    prepare_process()
    outcomes: dict[str, Outcome] = {}
    try:
        load.build()
        for name in chosen.peer or ["mansio"]:
            outcome = outcomes[name] = Outcome()
            with PEERS[name]() as peer:
                for each in LOADS:
                    run_load(peer, each, 0.5, Outcome())
                for _ in range(chosen.rounds):
                    for each in LOADS:
                        run_load(peer, each, chosen.seconds, outcome)
                    connect(peer, outcome)
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"tls: {error}")
        return 2
    text = render(outcomes)
    every = [one for outcome in outcomes.values() for one in outcome.results()]
    share = disturbance(every, os.cpu_count() or 1)
    warning = "; too much for firm figures" if share > QUIET else ""
    told = f"other processes and the hypervisor took {share:.0%} of the CPU time{warning}"
    text = f"- Disturbance: {told}\n\n{text}"
    print(text)
    facts = machine.facts() | {"OpenSSL": ssl.OPENSSL_VERSION}
    if chosen.json:
        raw = {"facts": facts, "outcomes": {name: asdict(one) for name, one in outcomes.items()}}
        chosen.json.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    if chosen.write:
        known = ("Date", "Machine", "Python", "OpenSSL")
        line = report.facts_list({key: facts[key] for key in known})
        section = f"{line}\n- Command: `python -m bench.tls --peer mansio --peer rabbitmq`\n{text}"
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "tls", section))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
