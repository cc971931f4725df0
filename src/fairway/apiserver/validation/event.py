"""What an Event may say, in its older form (v1) and in its later one (events.k8s.io/v1).

Both are checked in the older form: the later one is stored in it. ``later`` says which one the client speaks.
"""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import IMMUTABLE, Errors, each_invalid, metadata, metadata_update
from fairway.objects.codec import Document
from fairway.objects.status import invalid, required

EVENT_TYPES = ("Normal", "Warning")
_SHORT, _LONG = 128, 1024
_OLDER = ("firstTimestamp", "lastTimestamp", "count", "source")
_FIXED = (
    "involvedObject",
    "reason",
    "reportingComponent",
    "reportingInstance",
    "action",
    "message",
    "related",
    *_OLDER,
    "type",
    "eventTime",
)


def validate(event: Document, *, later: bool) -> Errors:
    errors = metadata(event, namespaced=True, name_format=formats.dns_subdomain)
    errors += _reported(event, later) if event.get("eventTime") else _about(event, event["metadata"].get("namespace"))
    if not later:
        return errors
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    if event.get("type") not in EVENT_TYPES:
        errors.append(invalid("type", "", f"has invalid value: {event.get('type', '')}"))
    errors += [invalid(field, "", "needs to be unset") for field in _OLDER if event.get(field)]
    return errors + _series(event)


def validate_update(new: Document, old: Document, *, later: bool) -> Errors:
    """An Event in the later form only counts on; in the older one anything may change."""
    errors = metadata_update(new, old)
    if later:
        errors += [invalid(one, new.get(one), IMMUTABLE) for one in _FIXED if new.get(one) != old.get(one)]
    return errors


def _about(event: Document, namespace: str | None) -> Errors:
    """An Event lies with the object it is about; one about an object without a namespace lies in ``default``."""
    about = event.get("involvedObject", {}).get("namespace", "")
    if namespace == (about or "default"):
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _reported(event: Document, later: bool) -> Errors:
    """One with an ``eventTime`` says who reports it and what was done."""
    errors: Errors = []
    about = event.get("involvedObject", {}).get("namespace", "")
    if not about and event["metadata"].get("namespace") not in ("default", "kube-system"):
        errors.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))
    controller, path = event.get("reportingComponent", ""), "reportingController" if later else "reportingComponent"
    if not controller:
        errors.append(required(path))
    errors += each_invalid(path, controller, formats.qualified_name(controller))
    for field in ("reportingInstance", "action", "reason"):
        text = event.get(field, "")
        if not text:
            errors.append(required(field))
        if len(text) > _SHORT:
            errors.append(invalid(field, "", f"can have at most {_SHORT} characters"))
    if len(event.get("message", "")) > _LONG:
        errors.append(invalid("message", "", f"can have at most {_LONG} characters"))
    return errors


def _series(event: Document) -> Errors:
    series = event.get("series")
    if series is None:
        return []
    errors = [] if series.get("count", 0) >= 2 else [invalid("series.count", "", "should be at least 2")]
    return errors if series.get("lastObservedTime") else [*errors, required("series.lastObservedTime")]
