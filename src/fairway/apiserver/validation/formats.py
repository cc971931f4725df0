"""What a name, a label, a port, an address or a quantity may look like.

Every function takes a text and answers with the problems it has, in Kubernetes' words (``apimachinery/pkg/util/
validation``); no problems is an empty list. Nothing here knows about fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache, wraps
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LABEL = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_QUALIFIED = re.compile("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(f"({_QUALIFIED.pattern})?")
_DATA_KEY = re.compile("[-._a-zA-Z0-9]+")
_PERCENT = re.compile("[0-9]+%")
_PORT_NAME = re.compile("[-a-z0-9]+")
_DOTTED = re.compile(r"0*\d{1,3}\.0*\d{1,3}\.0*\d{1,3}\.0*\d{1,3}", re.ASCII)
_PREFIX_LENGTH = re.compile(r"\d{1,3}", re.ASCII)
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII
)
_SCALES = {
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}

# A key with the longest prefix.
_LONGEST = 317
_LONGEST_ADDRESS = 100

Problems = list[str]
Format = Callable[[str], Problems]


def _remembered(check: Format) -> Format:
    """A check that need not look again at a text it has seen: a cluster has many labels, and few different ones."""

    @lru_cache(maxsize=8192)
    def verdict(text: str) -> tuple[str, ...]:
        return tuple(check(text))

    @wraps(check)
    def checked(text: str) -> Problems:
        # Longer ones are wrong in any case, and would fill the memory.
        return list(verdict(text)) if len(text) <= _LONGEST else check(text)

    return checked


def _wanted(sentence: str, pattern: re.Pattern[str], *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{sentence} (e.g. {shown}regex used for validation is '{pattern.pattern}')"


def _longer_than(limit: int, text: str) -> Problems:
    return [f"must be no more than {limit} bytes"] if len(text.encode()) > limit else []


def _shape(text: str, limit: int, pattern: re.Pattern[str], sentence: str, examples: Sequence[str]) -> Problems:
    found = _longer_than(limit, text)
    if not pattern.fullmatch(text):
        found.append(_wanted(sentence, pattern, *examples))
    return found


@_remembered
def dns_label(text: str) -> Problems:
    """RFC 1123: the name of a Service or a Namespace."""
    sentence = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return _shape(text, 63, _LABEL, sentence, ("my-name", "123-abc"))


def dns_label_1035(text: str) -> Problems:
    """RFC 1035: a label that does not start with a digit."""
    sentence = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return _shape(text, 63, _LABEL_1035, sentence, ("my-name", "abc-123"))


@_remembered
def dns_subdomain(text: str) -> Problems:
    """RFC 1123: the name of a Pod, a Node and most other kinds."""
    sentence = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _shape(text, 253, _SUBDOMAIN, sentence, ("example.com",))


@_remembered
def qualified_name(text: str) -> Problems:
    """A label or annotation key: ``app`` or ``example.com/app``."""
    sentence = (
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    examples = ("MyName", "my.name", "123-abc")
    match text.split("/"):
        case [name]:
            found: Problems = []
        case [prefix, name]:
            found = [
                f"prefix part {problem}" for problem in (dns_subdomain(prefix) if prefix else ["must be non-empty"])
            ]
        case _:
            words = _wanted(f"a qualified name {sentence}", _QUALIFIED, *examples)
            return [f"{words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if not name:
        return [*found, "name part must be non-empty"]
    return [*found, *(f"name part {problem}" for problem in _shape(name, 63, _QUALIFIED, sentence, examples))]


@_remembered
def label_value(text: str) -> Problems:
    sentence = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _shape(text, 63, _LABEL_VALUE, sentence, ("MyValue", "my_value", "12345"))


def data_key(text: str) -> Problems:
    """A key of a ConfigMap or a Secret: it becomes the name of a file."""
    if len(text.encode()) > 253:
        return _longer_than(253, text)
    if not _DATA_KEY.fullmatch(text):
        sentence = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        return [_wanted(sentence, _DATA_KEY, "key.name", "KEY_NAME", "key-name")]
    if text in (".", ".."):
        return [f"must not be '{text}'"]
    return ["must not start with '..'"] if text.startswith("..") else []


def path_segment(text: str) -> Problems:
    """A name that stands in a URL by itself."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{one}'" for one in "/%" if one in text]


def port_number(number: int) -> Problems:
    return [] if 1 <= number <= 65535 else ["must be between 1 and 65535, inclusive"]


def port_name(text: str) -> Problems:
    """An IANA service name: what a ``targetPort`` may say instead of a number."""
    found = _longer_than(15, text)
    if not _PORT_NAME.fullmatch(text):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port_number_or_name(value: int | str) -> Problems:
    return port_name(value) if isinstance(value, str) else port_number(value)


def percent(text: str) -> Problems:
    sentence = "a valid percent string must be a numeric string followed by an ending '%'"
    return [] if _PERCENT.fullmatch(text) else [_wanted(sentence, _PERCENT, "1%", "93%")]


def parse_address(text: str) -> Address | None:
    """The address, read as leniently as Kubernetes reads stored ones: IPv4 with leading zeros, no zone."""
    # What is kept in memory is short, whoever wrote it.
    return _parse_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=16384)
def _parse_address(text: str) -> Address | None:
    if _DOTTED.fullmatch(text):
        # `ip_address` would take several times as long, and refuse the zeros.
        one, two, three, four = map(int, text.split("."))
        fits = max(one, two, three, four) <= 255
        return IPv4Address(one << 24 | two << 16 | three << 8 | four) if fits else None
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def canonical(text: str) -> str:
    """An address as it is usually written; ``None`` for what is none."""
    return _canonical(text) if len(text) <= _LONGEST_ADDRESS else "None"


@lru_cache(maxsize=16384)
def _canonical(text: str) -> str:
    return str(_parse_address(text))


def address_of(family: str, number: int) -> Address:
    """The address with that number; the number alone does not tell the family."""
    return IPv4Address(number) if family == "IPv4" else IPv6Address(number)


def address(text: str) -> Problems:
    """One strict IP address: no leading zeros, no IPv4 inside IPv6 (KEP-4858 StrictIPCIDRValidation)."""
    parsed = parse_address(text)
    if parsed is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if isinstance(parsed, IPv4Address) and str(parsed) != text:
        return ["must not have leading 0s"]
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return ["must not be an IPv4-mapped IPv6 address"]
    return []


def special_address(text: str) -> Problems:
    """Why a well-formed address can be nobody's endpoint or external IP."""
    parsed = parse_address(text)
    if parsed is None:
        return []
    if parsed.version == 4 and int(parsed) >> 24 not in _SPECIAL_OCTETS:
        return []
    found = []
    if parsed.is_unspecified:
        found.append(f"may not be unspecified ({text})")
    if parsed.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if parsed in _LINK_LOCAL_MULTICAST[parsed.version]:
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return found


# What the first octet of every address is that one of these rules can mean.
_SPECIAL_OCTETS = (0, 127, 169, 224)
_LINK_LOCAL_MULTICAST: dict[int, Network] = {4: IPv4Network("224.0.0.0/24"), 6: IPv6Network("ff02::/16")}


def parse_network(text: str) -> Network | None:
    """The network an address with a prefix length belongs to; host bits are tolerated."""
    base, slash, length = text.partition("/")
    parsed = parse_address(base)
    if parsed is None or not slash or not _PREFIX_LENGTH.fullmatch(length):
        return None
    try:
        return ip_network(f"{parsed}/{int(length)}", strict=False)
    except ValueError:
        return None


def network(text: str) -> Problems:
    """One strict CIDR: no host bits, no leading zeros, no IPv4 inside IPv6."""
    parsed = parse_network(text)
    if parsed is None:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    base, _, length = text.partition("/")
    found = address(base)
    if len(length) > 1 and length.startswith("0"):
        found.append("must not have leading 0s in prefix length")
    if parse_address(base) != parsed.network_address:
        found.append("must not have bits set beyond the prefix length")
    return found


def family(text: str) -> str:
    """``IPv4`` or ``IPv6``, by the look of an address or network; empty for anything else."""
    parsed = parse_address(text.partition("/")[0])
    return f"IPv{parsed.version}" if parsed is not None else ""


def parse_quantity(value: str | float) -> Decimal | None:
    """An amount of CPU or memory: ``100m`` is 0.1, ``1Gi`` is 1073741824."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    suffix = match["suffix"] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return Decimal(match["number"] + suffix)
    return Decimal(match["number"]) * _SCALES[suffix]
