"""The carrier between processes and machines: ZeroMQ, over tcp or ipc.

    send ─▶ encode, on the caller's thread ─▶ outbox of the peer ─┐                        ┌─▶ mailbox
                                                                  ├─ the I/O thread ───────┤
    connect, learn ─▶ what is wanted ─────────────────────────────┘  owns all sockets      └─▶ outbox of a client

    carrier     what users see: addresses, outboxes, what is to be dialed
    loop        the I/O thread
    door        the ROUTER: hellos, connections, who is kept out
    dialer      the DEALERs, one for each endpoint
    lookup      host names, beside the lines
    hub         which lines stand, which lives there are, what is given up when
    post        what came: read, checked, delivered
    peer        who is at the other end, and what waits for it
    wire        the protocol: what the bytes mean

Only the I/O thread touches a socket: ZeroMQ's may not be used from two. Others put encoded envelopes into an outbox, which is
limited, and ring; what waits there when the line is free goes as one batch. A context does not survive a fork, so the child of
whoever opened a transport is told to make one of its own.
"""

from .carrier import ZeroMQ
from .peer import Contact

__all__ = ("Contact", "ZeroMQ")
