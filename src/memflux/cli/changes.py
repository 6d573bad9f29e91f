"""What `--set FIELD=VALUE` says of a device."""

from memflux.errors import InvalidValue


def changes(texts: list[str]) -> dict[str, object]:
    """FIELD=VALUE texts as typed values."""
    from memflux.device import QUANTITIES

    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidValue(f"--set {text!r} is not FIELD=VALUE; write for example --set barrier_left=0.12.")
        if name == "barrier_lowering" and value.lower() in ("true", "false"):
            found[name] = value.lower() == "true"
        elif name in QUANTITIES:
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = value  # the device's own check names field and range
        else:
            found[name] = value
    return found
