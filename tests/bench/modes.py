"""B3: the load of B2 run inline, and in shadow, beside the durable runs of B2.

Inline is asked for by the runbook, so that both run on the same system in turn; shadow is the matcher's mode, so it
has a system of its own, after the others.
"""

import time
from pathlib import Path

from tests.bench.load import PRODUCER, Figures, Storm, System, client, runbook
from tests.bench.processes import Spending
from tests.bench.receiver import Receiver
from tests.bench.system import bring_up, import_findings, ok, prepare, take_down
from tests.bench.verdict import judge

INLINE_TARGET, SHADOW_TARGET = 1.3, 0.6
"""Times the rate of B2."""


def measure_inline(
    system: System, folder: Path, findings: list[str], receiver: Receiver, rounds: int
) -> list[Figures]:
    """Durable and inline in turn; returns the durable figures, which shadow is compared with."""
    storm = Storm(system, f"platform.{PRODUCER}.events")
    durable: list[Figures] = []
    inline: list[Figures] = []
    for number in range(rounds):
        for engine, figures in (("workflow", durable), ("inline", inline)):
            _switch(system, receiver.url, engine)
            storm.run(findings[:500])  # warm: the definition is known everywhere
            spending = Spending(folder)
            figures.append(storm.run(findings))
            spent = spending.line(len(findings))
            print(f"B3 round {number + 1} {engine} by process: {spent}", flush=True)
        print(
            f"B3 round {number + 1}: durable {durable[-1].rate:.0f}/s {durable[-1].cpu_per_thousand:.2f} CPU-s/1000;"
            f" inline {inline[-1].rate:.0f}/s {inline[-1].cpu_per_thousand:.2f} CPU-s/1000",
            flush=True,
        )
    storm.close()
    judge("B3 inline", inline, durable, INLINE_TARGET, " x B2")
    return durable


def measure_shadow(folder: Path, receiver: Receiver, durable: list[Figures], rounds: int) -> None:
    """A system whose matcher runs everything in shadow."""
    system, _ = bring_up(folder, mode="shadow")
    try:
        prepare(system, receiver.url, "POST")
        findings = import_findings(system)
        storm = Storm(system, f"platform.{PRODUCER}.events")
        storm.run(findings[:500])
        shadow = [storm.run(findings) for _ in range(rounds)]
        storm.close()
        for number, each in enumerate(shadow):
            print(
                f"B3 shadow round {number + 1}: {each.rate:.0f}/s {each.cpu_per_thousand:.2f} CPU-s/1000",
                flush=True,
            )
        judge("B3 shadow", shadow, durable, SHADOW_TARGET, " x B2")
    finally:
        take_down(folder)


def _switch(system: System, url: str, engine: str) -> None:
    """The matching runbook runs there from now on."""
    with client(system, system.control_plane) as api:
        document = {**runbook("bench-0", "bench-", url), "engine": engine, "active": True}
        ok(api.put("/runbooks/bench-0", json=document))
    time.sleep(1.5)
