"""Settings from environment variables: what the models of all components have in common.

pydantic and pydantic-settings are used here only. A model is a subclass of `Settings`. Each of its
fields is one variable: `S3MOUNT_` and the field's name in capitals. A field's default is the text
that one would write into the variable; its description has the unit and the reason. The table in
docs/settings.md is made of them.

Not here: the fields of any component. Models are immutable, safe to share between threads.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from webhook.errors import SettingsError
from webhook.problems import quoted

PREFIX = "S3MOUNT_"


class Settings(BaseSettings):
    """One component's settings. Constructed without arguments they are the defaults."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=True, env_prefix=PREFIX
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only: `read` passes the variables of the mapping that it is given."""
        return (init_settings,)

    @classmethod
    def table(cls) -> list[tuple[str, str, str]]:
        """Return a row for each field: the variable, its default, its description."""
        return [
            (variable(name), _shown_default(field), field.description or "")
            for name, field in cls.model_fields.items()
        ]


_Model = TypeVar("_Model", bound=Settings)
_Other = TypeVar("_Other", bound=Settings)


class _Variables(PydanticBaseSettingsSource):
    """The variables of one mapping, unparsed: the fields' validators take their text."""

    def __init__(self, model: type[Settings], environ: Mapping[str, str]) -> None:
        super().__init__(model)
        self._environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._environ.get(variable(field_name)), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: text for name, text in found.items() if text is not None}


def variable(field: str) -> str:
    """Return the name of a field's environment variable."""
    return PREFIX + field.upper()


def setting(default: str, meaning: str, *, shown: str = "") -> Any:
    """Return a field: its default as text, what it means, and what the table shows for it."""
    return Field(default, description=meaning, json_schema_extra={"shown": shown})


def _shown_default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    shown = extra.get("shown") if isinstance(extra, dict) else None
    return str(shown) if shown else f"`{field.default}`" if field.default else "none"


def parsed(parse: Callable[[str], Any], rule: str) -> BeforeValidator:
    """Return a validator that parses text; `rule` is the error when `parse` has no text for it."""

    def read_text(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value.strip())
        except ValueError as error:
            raise ValueError(str(error) or rule) from error

    return BeforeValidator(read_text)


def not_below(field: str) -> AfterValidator:
    """Return a validator that compares with a field declared earlier; None is never below."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get(field)
        if value is not None and least is not None and value < least:
            raise ValueError(f"must not be below {variable(field)}")
        return value

    return AfterValidator(check)


def lowered_to(field: str) -> AfterValidator:
    """Return a validator that lowers a value to that of a field declared earlier."""

    def lower(value: int, info: ValidationInfo) -> int:
        most: int = info.data.get(field, value)
        return min(value, most)

    return AfterValidator(lower)


def read(model: type[_Model], environ: Mapping[str, str], **given: object) -> _Model:
    """Return a model's settings: values given over variables over defaults.

    A value of None counts as not given. SettingsError names every wrong variable.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return model(**_Variables(model, environ)() | chosen)
    except ValidationError as error:
        raise SettingsError(*(_problem(each) for each in error.errors())) from error


def read_both(
    one: type[_Model], other: type[_Other], environ: Mapping[str, str], **given: object
) -> tuple[_Model, _Other]:
    """Return the settings of two components; SettingsError has the wrong variables of both.

    `given`: values for the first of them.
    """
    try:
        first = read(one, environ, **given)
    except SettingsError as error:
        try:
            read(other, environ)
        except SettingsError as further:
            raise SettingsError(*error.problems, *further.problems) from error
        raise
    return first, read(other, environ)


def _problem(error: Mapping[str, Any]) -> str:
    name = variable(".".join(map(str, error["loc"])))
    reason = error.get("ctx", {}).get("error") or error["msg"]
    return f"{name}={quoted(str(error['input']))}: {reason}"
