"""What all sections of the configuration have in common."""

from pydantic import BaseModel, ConfigDict, field_validator


class Section(BaseModel):
    """A section that refuses keys it does not know, so that no typing slip is silent."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value, info):
        """Pydantic would take YAML's yes for 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"expected no yes or no here, found {'yes' if value else 'no'}")
        return value
