"""Who may do what: roles, tenants, and the one table that says what each message of a client asks for.

    viewer < operator < author < admin        node

A role allows what the ones before it allow. An `admin` has all tenants. A `node` is one of the cluster's own and may say
anything; a client, whatever its role, may only say what `RULES` names, to the actor that is named there. Role and tenant come
from the key that the line was opened with, never from a message.

What the table does not name is refused. A test goes through all messages and all questions, so that a new one must be
entered here, or be named there as none of a client's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, Literal, get_args

from msgspec import Struct

from ...actors.actor import COORDINATOR, METRICS, REGISTRY, Address
from ...actors.messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    DrainNode,
    Follow,
    ListMembers,
    Query,
    ReportMetrics,
    Submit,
    Watch,
)
from ...actors.records import DEFAULT_TENANT
from ..codec import MESSAGES
from ..contract import Fields

Role = Literal["viewer", "operator", "author", "admin", "node"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""From the least to the greatest."""

ALL_TENANTS: Final = "*"
UNBOUND_ROLES: Final[tuple[Role, ...]] = ("admin", "node")
"""Roles that are of no one tenant."""

ANONYMOUS: Final = "anonymous"
"""What who comes without a key is called, where that is allowed."""

Scope = Literal["tenant", "jobs", "question", "none", "all"]
"""Where a message names its tenants: in its field `tenant`, in each of its `jobs`, in its `question`, or nowhere. `all` is for
what concerns every tenant."""

Reason = Literal["unknown_key", "revoked", "peer", "recipient", "message", "role", "tenant"]
"""Why somebody was refused, for counting."""


class Principal(Struct, frozen=True):
    """Who speaks on a line: the name and the rights of the key it was opened with.

    `public` is that key, empty for who came without one. `peer` is the node or client it says it is, `incarnation` which life of it.
    """

    name: str
    role: Role
    tenant: str
    public: str = ""
    peer: str = ""
    incarnation: str = ""

    def may(self, role: Role) -> bool:
        """Whether this role allows what `role` allows."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def has(self, tenant: str) -> bool:
        """Whether a tenant is this one's."""
        return self.tenant in (ALL_TENANTS, tenant)


class Rule(Struct, frozen=True):
    """What a message asks for: the least role, the actor it is for, and where it names its tenants."""

    role: Role
    recipient: Address
    scope: Scope


class Refusal(Struct, frozen=True):
    """Why a message is refused, for counting and for a person, and the tenant it named (several with commas)."""

    reason: Reason
    text: str
    tenant: str = ""


RULES: Final[dict[type, Rule]] = {
    Query: Rule("viewer", REGISTRY, "question"),
    Watch: Rule("viewer", REGISTRY, "tenant"),
    Submit: Rule("operator", REGISTRY, "tenant"),
    CancelRun: Rule("operator", REGISTRY, "tenant"),
    ChangeJob: Rule("operator", REGISTRY, "tenant"),
    AddJobs: Rule("author", REGISTRY, "jobs"),
    Follow: Rule("viewer", COORDINATOR, "none"),
    ListMembers: Rule("viewer", COORDINATOR, "none"),
    DrainNode: Rule("admin", COORDINATOR, "all"),
    ReportMetrics: Rule("viewer", METRICS, "none"),
}
"""Every message that a client may send. `ACTIONS` says more of `ChangeJob`."""

ACTIONS: Final[dict[str, Role]] = {
    "pause": "operator",
    "resume": "operator",
    "remove": "author",
    "reschedule": "author",
}
"""The least role for what may be done to a job."""

QUESTIONS: Final[dict[str, Literal["tenant", "names", "versions"]]] = {
    "list_jobs": "tenant",
    "get_jobs": "names",
    "get_definitions": "versions",
    "list_runs": "tenant",
    "get_runs": "tenant",
    "get_group": "tenant",
    "get_tokens": "tenant",
    "list_decisions": "tenant",
    "list_attempts": "tenant",
    "list_events": "tenant",
}
"""Every question that a client may ask, by its tag, and the field that names its tenants.

The others concern all tenants at once, some without a limit; only the cluster's own actors ask them.
"""

_TAGS: Final = {kind: tag for tag, kind in MESSAGES.items()}
_NO_TAGS: Final[frozenset[str]] = frozenset()
_PLAIN_TAGS: Final = {
    (role, recipient): frozenset(
        _TAGS[kind]
        for kind, rule in RULES.items()
        if rule.recipient == recipient and kind is not ChangeJob and ROLES.index(role) >= ROLES.index(rule.role)
    )
    for role in ROLES
    for recipient in (REGISTRY, COORDINATOR, METRICS)
}

MAX_NAMED: Final = 16
"""Jobs of a refused message whose tenants are written down."""


def judge(principal: Principal, recipient: Address, message: Any) -> Refusal | None:
    """Why this message is refused to whom sent it, None if it is not.

    Args:
        principal: whose line it came from.
        recipient: the actor it is for, without a node.
        message: any message that the codec knows.
    """
    if principal.role == "node":
        return None
    action = message.action if isinstance(message, ChangeJob) else ""
    found = _judge_kind(principal, recipient, type(message), action, lambda scope: tenants_of(message, scope))
    if isinstance(found, Refusal):
        return found
    return _judge_tenants(principal, message, found)


def screen(principal: Principal, recipient: Address, fields: Fields) -> Refusal | None:
    """Why a message is refused already by its tag, its recipient and the role, before it is checked; None if it is not.

    A tag that the codec does not know is not judged here.
    """
    kind = kind_of(fields)
    if kind is None or principal.role == "node":
        return None
    found = _judge_kind(principal, recipient, kind, _action_of(fields), lambda scope: _named_tenants(fields, scope))
    return found if isinstance(found, Refusal) else None


def plain_tags(principal: Principal, recipient: Address) -> frozenset[str]:
    """The tags of messages that `screen` lets pass whatever else is in them: most of what comes is of these."""
    return _PLAIN_TAGS.get((principal.role, recipient), _NO_TAGS)


def kind_of(fields: Fields) -> type | None:
    """The type that a message says it is of, None when there is none."""
    tag = fields.get("type")
    return MESSAGES.get(tag) if isinstance(tag, str) else None


def _judge_kind(
    principal: Principal,
    recipient: Address,
    kind: type,
    action: str,
    tenants: Callable[[Scope], Iterable[str] | None],
) -> Rule | Refusal:
    """The rule for a message of this type, or why it is refused whatever is in it."""
    rule = RULES.get(kind)
    if rule is None:
        return Refusal("message", f"{kind.__name__} is nothing that a client may send")
    if recipient != rule.recipient:
        return Refusal("recipient", f"{kind.__name__} is for {rule.recipient}, it was sent to {recipient!r}")
    role = ACTIONS.get(action, "admin") if kind is ChangeJob else rule.role
    if not principal.may(role):
        what = f"{kind.__name__} ({action})" if action in ACTIONS else kind.__name__
        text = f"{what} needs the role {role}; the key {principal.name!r} has the role {principal.role}"
        return Refusal("role", text, ",".join(tenants(rule.scope) or ()))
    return rule


def _action_of(fields: Fields) -> str:
    """What a message that was not checked yet wants done to a job; who brings a trigger, which must be checked, reschedules it."""
    if fields.get("trigger") is not None:
        return "reschedule"
    action = fields.get("action")
    return action if isinstance(action, str) else ""


def _named_tenants(fields: Fields, scope: Scope) -> Iterable[str]:
    """The tenants that a message names which was not checked yet, for the log: some of them, if there are many."""
    rows: Any
    match scope:
        case "tenant":
            rows = (fields,)
        case "jobs":
            rows = fields.get("jobs")
        case "question":
            rows = (fields.get("question"),)
        case "all":
            return (ALL_TENANTS,)
        case "none":
            return ()
    found = (
        (row.get("tenant", DEFAULT_TENANT) for row in islice(rows, MAX_NAMED) if isinstance(row, dict))
        if isinstance(rows, list | tuple)
        else ()
    )
    return dict.fromkeys(tenant for tenant in found if isinstance(tenant, str))


def _judge_tenants(principal: Principal, message: Any, rule: Rule) -> Refusal | None:
    kind = type(message).__name__
    tenants = tenants_of(message, rule.scope)
    if tenants is None:
        return Refusal("message", f"{type(message.question).__name__} is no question that a client may ask")
    for tenant in tenants:
        if not principal.has(tenant):
            whose = "all tenants" if tenant == ALL_TENANTS else f"the tenant {tenant!r}"
            text = f"{kind} concerns {whose}; the key {principal.name!r} is for the tenant {principal.tenant!r}"
            return Refusal("tenant", text, tenant)
    return None


def tenants_of(message: Any, scope: Scope) -> Iterable[str] | None:
    """The tenants that a message names, `*` for all; None when it asks what no client may ask."""
    match scope:
        case "tenant":
            return (message.tenant,)
        case "jobs":
            return dict.fromkeys(job.tenant for job in message.jobs)
        case "all":
            return (ALL_TENANTS,)
        case "none":
            return ()
        case "question":
            return _tenants_of_question(message.question)


def _tenants_of_question(question: Any) -> Iterable[str] | None:
    field = QUESTIONS.get(type(question).__struct_config__.tag)
    match field:
        case None:
            return None
        case "tenant":
            return (question.tenant,)
        case "names" | "versions":
            return dict.fromkeys(row[0] for row in getattr(question, field))
