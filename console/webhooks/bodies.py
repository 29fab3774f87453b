"""What a webhook is sent about one dispatch: the dispatch as it stands, or its case as a CAP message."""

import json
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from console.cap import CapSource, cap_of
from console.tables import Case, IncidentRecord
from console.webhooks.hooks import Form
from shared.dispatches import Dispatch, DispatchError
from shared.errors import TransientError
from shared.routing import Routing

_CLOUDEVENT = "application/cloudevents+json; charset=utf-8"
_CAP = "application/cap+xml; charset=utf-8"


class NotYetError(TransientError):
    """Raised when the desk has not brought an incident into its record yet."""

    default_reason = "not_in_the_record"


@dataclass(frozen=True, slots=True)
class Body:
    """A body, its media type, and the id that it has each time it is sent."""

    message_id: str
    text: str
    media_type: str


class Bodies:
    """Makes bodies. Safe to use from several threads."""

    def __init__(self, routing: Routing, source: CapSource, engine: Engine | None) -> None:
        """`engine` is the desk's record, read only; None where no webhook is sent CAP."""
        self._routing, self._source, self._engine = routing, source, engine

    def of(self, event: bytes, form: Form) -> Body:
        """What is sent about one dispatch.

        Raises:
            DispatchError: it is none.
            NotYetError: the desk's record does not have the incident yet.
            sqlalchemy.exc.SQLAlchemyError: the record can't be read.
        """
        dispatch = Dispatch.decode(event)
        message_id = json.loads(event)["id"]
        if not isinstance(message_id, str) or not message_id.isprintable() or not message_id.isascii():
            raise DispatchError("the id of a dispatch is none that a header can hold")
        if form is Form.CLOUDEVENTS:
            return Body(message_id, event.decode(), _CLOUDEVENT)
        return Body(message_id, self._cap(dispatch), _CAP)

    def _cap(self, dispatch: Dispatch) -> str:
        assert self._engine is not None, "the service opens the record where a webhook wants CAP"
        incident_id, revision = dispatch.data["incident_id"], int(dispatch.data.get("revision", 1))
        with Session(self._engine) as session:
            record = session.get(IncidentRecord, incident_id)
            if record is None or record.revision < revision:
                raise NotYetError(f"the desk's record does not have incident {incident_id} yet")
            case = session.get_one(Case, record.case_id)
            if case.merged_into:
                case = session.get_one(Case, case.merged_into)
            return cap_of(session, case, self._routing, self._source)
