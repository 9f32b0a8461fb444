"""What a simulation is made of, drawn from its seed: which faults, which work, which constants.

Each seed draws a handful of fault classes and not all, because faults hide one another. Options are printed with a seed and
can be said on the command line, so a failing case is replayed, and shrunk, by naming what is left of it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from simulation.virtual import stream

FAULTS: Final = (
    "network",  # messages between clients and the node: lost, late, doubled, overtaken, cut
    "local",  # the same between actors of the node
    "store",  # busy, full, slow, an outcome unknown
    "commit",  # the process dies before, in and after a commit
    "kill",  # kill -9 at any moment
    "power",  # the machine loses power: what was not synced is gone, and marks are another boot's
    "actor",  # an actor fails alone and is made anew
    "pause",  # the process stands still (SIGSTOP)
    "clock",  # the wall clock jumps and drifts, the machine is suspended
    "worker",  # functions start late, worker processes die, threads hang
    "mailbox",  # a mailbox is full for a while
    "stop",  # an orderly stop and a new start
)
CLUSTER_FAULTS: Final = (
    "lines",  # messages between nodes: lost, late, doubled, overtaken
    "partition",  # nodes cut off from one another: in full, one way, flapping
    "rumour",  # the transport says of a peer that it is lost, or found, and is wrong
    "slow",  # a node thinks slowly, and its lines are long
    "roll",  # nodes are restarted one by one, and learn functions that no older life has
    "freeze",  # a node stands still, most likely the one that leads, or is in the middle of a commit
    "leave",  # a node leaves in order, for a moment or for long; or all at once, the leader perhaps not in order
)
NODES: Final = (1, 3, 5)
ACTIONS: Final = (
    "submit",
    "token",
    "trigger",
    "cancel",
    "pause",
    "reschedule",
    "remove",
    "edit",
    "query",
    "watch",
    "relink",
    "uproot",
)


class Options(Struct, frozen=True, kw_only=True):
    """One simulation. `until_s` 0: the whole of it; `jobs` and `actions` say which of the workload take part.

    `apart`: each of several nodes is on a machine of its own, with its own clock and marks that no other can read, and the
    store is a server. Otherwise all are on one machine, and the store is a file on its disk. `workers` have no store.
    """

    seed: int
    faulty_s: int
    healed_s: int
    faults: tuple[str, ...]
    actions: tuple[str, ...] = ACTIONS
    jobs: tuple[int, ...]
    clients: int
    durable: bool = True
    constants: bool = False
    until_s: int = 0
    nodes: int = 1
    apart: bool = False
    workers: int = 0


def draw_options(seed: int, nodes: int = 1) -> Options:
    """What the seed draws for so many nodes."""
    random = stream(seed, "options")
    appetite = random.choice((0.0, 0.25, 0.4, 0.6))
    faults = tuple(name for name in FAULTS if random.random() < appetite)
    jobs = tuple(range(random.randint(4, 10)))
    options = Options(
        seed=seed,
        faulty_s=random.choice((10, 15, 20, 30)),
        healed_s=36 if "local" not in faults else 60,
        faults=faults,
        jobs=jobs,
        clients=random.randint(1, 4),
        durable=random.random() < 0.85,
        constants=random.random() < 0.4,
    )
    return options if nodes == 1 else _in_cluster(options, nodes)


def _in_cluster(options: Options, nodes: int) -> Options:
    """The same with several nodes, and the faults that only they can have."""
    random = stream(options.seed, "options", "cluster")
    appetite = random.choice((0.0, 0.25, 0.4, 0.6))
    faults = tuple(name for name in CLUSTER_FAULTS if random.random() < appetite)
    apart = random.random() < 0.35
    return structs.replace(
        options,
        nodes=nodes,
        apart=apart,
        workers=random.choice((0, 0, 1)),
        durable=apart or options.durable,
        faults=(*options.faults, *faults),
    )


def read_options(seed: int, text: str, nodes: int = 1) -> Options:
    """Options of a seed, with those said in `text` (`faults=kill+store,jobs=0+3`) in place of what it draws.

    Raises:
        ValueError: an option that is none, or a value that it cannot have.
    """
    said: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in Options.__struct_fields__ or name == "seed":
            raise ValueError(f"there is no option {name!r}; options are {', '.join(Options.__struct_fields__[1:])}")
        said[name] = value
    options = draw_options(seed, int(said.get("nodes", nodes)))
    changes = {name: _value(name, getattr(options, name), value) for name, value in said.items()}
    return structs.replace(options, **changes)


def _value(name: str, old: object, said: str) -> object:
    if not isinstance(old, tuple):
        return said == "yes" if isinstance(old, bool) else int(said)
    words = tuple(filter(None, said.split("+")))
    known = (*FAULTS, *CLUSTER_FAULTS) if name == "faults" else ACTIONS
    if name == "jobs":
        return tuple(int(word) for word in words)
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"{name} has no {', '.join(unknown)}; there are {', '.join(known)}")
    return words


def write_options(options: Options) -> str:
    """What `--options` must be given to get these; only what the seed would not draw by itself."""
    drawn = draw_options(options.seed, options.nodes)
    parts = [f"nodes={options.nodes}"] if options.nodes != 1 else []
    for name in Options.__struct_fields__:
        value = getattr(options, name)
        if value == getattr(drawn, name):
            continue
        if isinstance(value, tuple):
            value = "+".join(str(item) for item in value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        parts.append(f"{name}={value}")
    return ",".join(parts)
