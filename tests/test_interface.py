"""The studio's interface is what it says of itself: whatever is asked, well or badly, no answer is undeclared or a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from cadenza.web.server import create_app
from cadenza.web.store import Store
from studio import midi_of, new_set, send

CASES = 300
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Interface:
    """What can be asked for, and by the first part of its path an id that there is."""

    operations: list[Any]
    ids: dict[str, str]

    def known(self, case: Any) -> str | None:
        return None if case.method == "DELETE" else self.ids.get(case.path.split("/")[2])


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    data = tmp_path_factory.mktemp("interface")
    app = create_app(data, works=False)
    with TestClient(app, base_url="http://localhost") as client:
        set_id = new_set(client)
        file = send(client, set_id, ("a.mid", midi_of(1))).json()["files"][0]["id"]
        job = client.post("/api/compose", json={}).json()["id"]
        client.post(f"/api/jobs/{job}/stop")
        values = {"model_id": "bundled", "name": "A piece", "number": 1, "sample": False, "request": {}}
        piece = Store(data).add_piece(midi_of(2), job_id=job, sidecar={}, **values)["id"]
        described = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "localhost"})
        operations: list[Any] = [each.ok() for each in described.get_all_operations()]  # type: ignore[union-attr]
        ids = {"sets": set_id, "files": file, "jobs": job, "pieces": piece, "models": "bundled"}
        yield Interface(operations, ids)


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_answer_is_undeclared_or_a_fault(interface: Interface, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(interface.operations))
    mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    if data.draw(st.booleans()) and "id_" in (case.path_parameters or {}):
        case.path_parameters["id_"] = interface.known(case) or case.path_parameters["id_"]
    case.call_and_validate(checks=CHECKS, headers={"host": "localhost"})


def test_a_refusal_is_a_sentence_wherever_it_comes_from(interface: Interface) -> None:
    for operation in interface.operations:
        assert {"4XX", "5XX"} <= set(operation.definition.raw["responses"])
