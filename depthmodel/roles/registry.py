"""Registry of roles, and the field type of a configuration that holds one."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import Registry
from nightrain.depthmodel.roles.role import Role

ROLES = Registry(
    "role",
    "nightrain.depthmodel.roles.role:Role",
    {
        "teacher": "nightrain.depthmodel.roles.teacher:TeacherRole",
        "student": "nightrain.depthmodel.roles.student:StudentRole",
        "restorer": "nightrain.depthmodel.roles.restorer:RestorerRole",
    },
)


def parse_role(value: Any) -> Role:
    """Return a role from its settings, whose `kind` names it or is "package.module:Class".

    A role is returned as it is. Raises ValueError for settings without `kind`, an unknown name, and
    a class that cannot be imported or is no role.
    """
    if isinstance(value, Role):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise ValueError(
            f"a role needs a `kind`: one of {', '.join(ROLES.classes)}, or package.module:Class"
        )
    try:
        role: type[Role] = ROLES.load(value["kind"])
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
    return role.model_validate(dict(value))


AnyRole = Annotated[SerializeAsAny[Role], BeforeValidator(parse_role)]
