"""gometa: a client of the metadata store gometa.

    import gometa

    with gometa.Client("127.0.0.1:5003,127.0.0.1:6003") as client:
        written = client.set("k", "v")
        assert client.get("k") == b"v"

``gometa.aio.Client`` has the same methods for asyncio. Close clients, for example by ``with``: that ends their
sessions. All errors derive from ``gometa.GometaError``. Events of connections are logged by the logger ``gometa``.
"""

import logging as _logging

from . import aio as aio
from ._client import Client as Client
from ._client import Transaction as Transaction
from ._client import Txn as Txn
from ._errors import *  # noqa: F403 - created from the table of errors; listed in the stub
from ._gometa import VERSION as _version
from ._gometa import prepare as _prepare
from ._txn import Compare as Compare
from ._txn import Op as Op
from ._txn import OpResult as OpResult
from ._txn import Relation as Relation
from ._txn import Transacted as Transacted
from ._types import BytesLike as BytesLike
from ._types import Consistency as Consistency
from ._types import Counters as Counters
from ._types import Deleted as Deleted
from ._types import DeletedRange as DeletedRange
from ._types import Ensemble as Ensemble
from ._types import Entry as Entry
from ._types import Guard as Guard
from ._types import GuardLike as GuardLike
from ._types import KeyHistory as KeyHistory
from ._types import KeyVersion as KeyVersion
from ._types import Member as Member
from ._types import MemberRecord as MemberRecord
from ._types import Members as Members
from ._types import MembersChanged as MembersChanged
from ._types import Membership as Membership
from ._types import MembersVersion as MembersVersion
from ._types import Page as Page
from ._types import PeerStatus as PeerStatus
from ._types import Role as Role
from ._types import Setting as Setting
from ._types import SnapshotStatus as SnapshotStatus
from ._types import Status as Status
from ._types import StopAdvice as StopAdvice
from ._types import StorageStatus as StorageStatus
from ._types import Written as Written

__version__: str = _version
_prepare()

# A library logs nothing unless the application has configured logging.
_logging.getLogger("gometa").addHandler(_logging.NullHandler())
