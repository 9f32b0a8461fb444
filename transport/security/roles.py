"""Who may do what: roles, tenants, and the one table that says what each message of a client asks for.

    viewer < operator < author < admin        node

A role allows what the ones before it allow. An `admin` has all tenants. A `node` is one of the cluster's own and may say
anything; a client, whatever its role, may only say what `RULES` names, to the actor that is named there. Role and tenant come
from the key that the line was opened with, never from a message.

What the table does not name is refused. A test goes through all messages and all questions, so that a new one must be
entered here, or be named there as none of a client's.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def judge(principal: Principal, recipient: Address, message: Any) -> Refusal | None:
    """Why this message is refused to whom sent it, None if it is not.

    Args:
        principal: whose line it came from.
        recipient: the actor it is for, without a node.
        message: any message that the codec knows.
    """
    if principal.role == "node":
        return None
    kind = type(message).__name__
    rule = RULES.get(type(message))
    if rule is None:
        return Refusal("message", f"{kind} is nothing that a client may send")
    if recipient != rule.recipient:
        return Refusal("recipient", f"{kind} is for {rule.recipient}, it was sent to {recipient!r}")
    role = _role(message, rule)
    if not principal.may(role):
        text = f"{_describe(message)} needs the role {role}; the key {principal.name!r} has the role {principal.role}"
        return Refusal("role", text, ",".join(tenants_of(message, rule.scope) or ()))
    return _judge_tenants(principal, message, rule)


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


def _role(message: Any, rule: Rule) -> Role:
    if isinstance(message, ChangeJob):
        return ACTIONS.get(message.action, "admin")
    return rule.role


def _describe(message: Any) -> str:
    kind = type(message).__name__
    return f"{kind} ({message.action})" if isinstance(message, ChangeJob) else kind
