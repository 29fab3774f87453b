"""What a webhook is sent: a dispatch as it stands, or a case as the CAP message that a letter names."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from console.cap import CapSource, NoAlertError, cap_of
from console.capchain import chain_of, identifier_of, named
from console.tables import Case, IncidentRecord
from console.webhooks.hooks import Form
from shared.dispatches import Dispatch, DispatchError
from shared.routing import Routing

_CLOUDEVENT = "application/cloudevents+json; charset=utf-8"
_CAP = "application/cap+xml; charset=utf-8"


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
        """What is sent about one dispatch or message.

        Raises:
            DispatchError: it is none.
            NoAlertError: the desk's record has no such message.
            sqlalchemy.exc.SQLAlchemyError: the record can't be read.
        """
        if form is Form.CAP:
            return self._message(event)
        Dispatch.decode(event)
        message_id = json.loads(event)["id"]
        if not isinstance(message_id, str) or not message_id.isprintable() or not message_id.isascii():
            raise DispatchError("the id of a dispatch is none that a header can hold")
        return Body(message_id, event.decode(), _CLOUDEVENT)

    def _message(self, event: bytes) -> Body:
        """As the case stands now: whoever gets it late learns at once what has become of it."""
        assert self._engine is not None, "the service opens the record where a webhook wants CAP"
        try:
            about: Any = json.loads(event)
            wanted, subject = named(about["id"]), str(about["subject"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DispatchError("neither a dispatch nor the name of a message") from error
        with Session(self._engine) as session:
            case_id, at = wanted or (_case_of(session, subject), None)
            case = session.get(Case, case_id)
            told = chain_of(session, case_id).message(at)
            if case is None or told is None:
                raise NoAlertError(f"the desk's record has no such message about {case_id}")
            text = cap_of(session, case, self._routing, self._source, at=told.at)
        return Body(identifier_of(case_id, told.at), text, _CAP)


def _case_of(session: Session, incident_id: str) -> str:
    """The case of an incident's dispatch, which an earlier version gave up, or a person handed over to it."""
    record = session.get(IncidentRecord, incident_id)
    if record is None:
        raise NoAlertError(f"the desk's record has no incident {incident_id}")
    return record.case_id
