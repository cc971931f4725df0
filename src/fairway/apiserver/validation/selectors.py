"""What a label selector may say, in a workload or in a policy."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid, label_errors
from fairway.objects.codec import Document
from fairway.objects.status import forbidden_field, invalid, required

_WITH_VALUES = ("In", "NotIn")
_WITHOUT_VALUES = ("Exists", "DoesNotExist")


def selector_errors(selector: Document, path: str) -> Errors:
    errors = label_errors(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions", [])):
        errors += _expression(expression, f"{path}.matchExpressions[{index}]")
    return errors


def _expression(expression: Document, path: str) -> Errors:
    key, operator, values = expression.get("key", ""), expression.get("operator", ""), expression.get("values", [])
    errors: Errors = []
    if operator in _WITH_VALUES:
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in _WITHOUT_VALUES:
        if values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden_field(f"{path}.values", words))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    errors += each_invalid(f"{path}.key", key, formats.qualified_name(key))
    for index, value in enumerate(values):
        errors += each_invalid(f"{path}.values[{index}]", value, formats.label_value(value))
    return errors
