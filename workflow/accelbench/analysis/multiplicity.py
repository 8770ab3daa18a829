"""Many sentences, one error rate: Holm's correction over all that is said besides the primary metric."""

from collections.abc import Mapping


def holm(p_values: Mapping[str, float | None], primary: str | None = None) -> dict[str, float | None]:
    """Return p-values adjusted by Holm, by name; the primary one stays as it is and isn't counted, nulls neither."""
    family = {name: p for name, p in p_values.items() if p is not None and name != primary}
    adjusted, least = dict(p_values), 0.0
    for place, name in enumerate(sorted(family, key=lambda name: family[name])):
        least = max(least, min(1.0, (len(family) - place) * family[name]))
        adjusted[name] = least
    return adjusted
