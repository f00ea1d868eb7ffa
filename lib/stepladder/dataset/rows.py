"""The rows as they stand in the files of a dataset folder; pydantic names the field that is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stepladder.records import Split, Status


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class DocumentRow(Row):
    doc_id: str = Field(min_length=1)
    title: str
    url: str
    kind: str
    status: Status
    updated_at: str = Field(pattern=r"^\d{4}-\d\d-\d\d")
    text: str = Field(min_length=1)


class Upsert(DocumentRow):
    op: Literal["upsert"]


class Delete(Row):
    op: Literal["delete"]
    doc_id: str = Field(min_length=1)


class Turn(Row):
    role: Literal["customer", "agent"]
    text: str


class CaseRow(Row):
    case_id: str = Field(min_length=1)
    split: Split
    text: str | None = None
    messages: list[Turn] | None = None
    tags: list[str] = []
    group_id: str | None = None


class EvidenceRow(Row):
    doc_id: str
    quote: str | None = None


class GoldRow(Row):
    case_id: str = Field(min_length=1)
    output: dict[str, Any]
    evidence: list[EvidenceRow | list[EvidenceRow]] = []
    output_after_update: dict[str, Any] | None = None
    evidence_after_update: list[EvidenceRow | list[EvidenceRow]] | None = None
    rejected: list[str] = []


class Success(Row):
    metric: Literal["resolved"] = "resolved"
    target: float = Field(default=0.8, gt=0, le=1)
    must: list[str] = []
    field_targets: dict[str, Annotated[float, Field(gt=0, le=1)]] = {}


class DataAudit(Row):
    examples: int = Field(default=0, ge=0)


class Prices(Row):
    """Dollars per million tokens and per hour of computing."""

    input_per_million: float = Field(default=0.0, ge=0)
    output_per_million: float = Field(default=0.0, ge=0)
    compute_per_hour: float = Field(default=0.0, ge=0)


class Brief(Row):
    """The five questions, answered before the run."""

    success: Success = Success()
    margin: float = Field(default=0.05, gt=0, lt=1)
    data_audit: DataAudit = DataAudit()
    update_frequency: Literal["never", "monthly", "weekly", "daily"] = "monthly"
    latency_budget_seconds_p95: float = Field(default=5.0, gt=0)
    sources_required: bool = False
    monthly_cases: int = Field(default=1000, ge=0)
    prices: Prices = Prices()
