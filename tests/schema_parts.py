"""The published schemas, for every test that reads real records to hold them against."""

import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parents[1] / "shared/schemas"
SCHEMAS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
VALIDATORS = {name: jsonschema.Draft202012Validator(schema) for name, schema in SCHEMAS.items()}


def check_dispatch(event: bytes) -> None:
    """Raise jsonschema.ValidationError unless an entry's event is what consumers are promised."""
    VALIDATORS["dispatch"].validate(json.loads(event))
