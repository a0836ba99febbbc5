"""Goods and money in templates: amounts that are decimals, sums that are right, both as people read them.

A `template.json` asks for this by its `kind`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from notifier.contexts import MOST, Mistake, joined
from notifier.states import Priority

CENT = Decimal("0.01")
WHOLE_DIGITS = 12
PRICE_PLACES, MONEY_PLACES, QUANTITY_PLACES = 4, 2, 3
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
_PLAIN = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a template's context means beyond its schema.

    `order_in`: the variable that holds the order; "" where the context itself is one. `needs_total`: false where it is
    computed if it is missing. `urgency`: the variable whose `high` makes the notification's own priority high.
    """

    order_in: str = ""
    needs_total: bool = True
    urgency: str = ""

    def mistakes(self, context: Mapping[str, Any]) -> list[Mistake]:
        """Wrong amounts, and a total that is not the sum."""
        order = context.get(self.order_in) if self.order_in else context
        if not isinstance(order, Mapping):
            return []
        prefix = [self.order_in] if self.order_in else []
        found: list[Mistake] = []
        for one in _wrong_amounts(order, prefix, needs_total=self.needs_total):
            found.append(one)
            if len(found) == MOST:
                break
        return found or list(_wrong_total(order, prefix))

    def shown(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The context with each amount beside itself as text in the active language: `total_shown`, and of each item
        `quantity_shown`, `price_shown`, `sum_shown`, `stock_shown` and `is_short`."""
        order = context.get(self.order_in) if self.order_in else context
        if not isinstance(order, Mapping):
            return dict(context)
        told = {**order, "items": [_shown_item(item) for item in order["items"]], "total_shown": money(_sum(order))}
        return {**context, self.order_in: told} if self.order_in else told

    def priority(self, context: Mapping[str, Any]) -> Priority | None:
        """What the notification's own defaults to. None: nothing of its own."""
        is_urgent = self.urgency and context.get(self.urgency) == "high"
        return Priority.HIGH if is_urgent else None


KINDS = {
    "order": Kind(),
    "call": Kind(order_in="order", needs_total=False, urgency="priority"),
}
"""By the `kind` of a `template.json`."""


def amount(value: Any, places: int) -> Decimal:
    """A number, or a text of one, as it is written. ValueError with a sentence: it is none, or not one of these."""
    text = str(value) if type(value) is float else value
    if type(value) is int:
        text = str(value) if abs(value) < 10**WHOLE_DIGITS else "9" * (WHOLE_DIGITS + 1)
    if not isinstance(text, str) or not _PLAIN.fullmatch(text):
        raise ValueError(_("Expected a decimal, as in 1234.50, without an exponent."))
    whole, _point, fraction = text.lstrip("-").partition(".")
    if len(whole) > WHOLE_DIGITS:
        raise ValueError(_("Digits before the point: at most {number}.").format(number=WHOLE_DIGITS))
    if len(fraction) > places:
        raise ValueError(_("Digits after the point: at most {number}.").format(number=places))
    if text.startswith("-"):
        raise ValueError(_("It may not be negative."))
    return Decimal(text)


def money(value: Decimal) -> str:
    """With two places, or as many as it has, in the active language's spelling."""
    places = max(MONEY_PLACES, -int(value.as_tuple().exponent))
    return number_format(value, decimal_pos=places, use_l10n=True, force_grouping=True)


def _number(value: Decimal) -> str:
    """Without zeros that say nothing."""
    plain = value.quantize(Decimal(1)) if value == value.to_integral_value() else value.normalize()
    return number_format(plain, decimal_pos=max(0, -int(plain.as_tuple().exponent)), use_l10n=True, force_grouping=True)


def _wrong_amounts(order: Mapping[str, Any], prefix: Sequence[str], *, needs_total: bool) -> Iterator[Mistake]:
    for index, item in enumerate(order["items"]):
        for name, places in (("quantity", QUANTITY_PLACES), ("price", PRICE_PLACES)):
            yield from _wrong_amount(item[name], places, [*prefix, "items", index, name])
        if _is_zero(item["quantity"]):
            yield Mistake(joined(*prefix, "items", index, "quantity"), "min_value", _("It must be more than zero."))
        if item.get("stock") is not None:
            yield from _wrong_amount(item["stock"], QUANTITY_PLACES, [*prefix, "items", index, "stock"])
    if "total" in order:
        yield from _wrong_amount(order["total"], MONEY_PLACES, [*prefix, "total"])
    elif needs_total:
        yield Mistake(joined(*prefix, "total"), "required", _("This variable is required."))


def _wrong_amount(value: Any, places: int, path: Sequence[Any]) -> Iterator[Mistake]:
    try:
        amount(value, places)
    except ValueError as error:
        yield Mistake(joined(*path), "decimal", str(error))


def _is_zero(value: Any) -> bool:
    try:
        return not amount(value, QUANTITY_PLACES)
    except ValueError:
        return False


def _wrong_total(order: Mapping[str, Any], prefix: Sequence[str]) -> Iterator[Mistake]:
    right = _sum(order)
    if "total" in order and amount(order["total"], MONEY_PLACES) != right:
        text = _("The sum of quantity × price is {total}.").format(total=f"{right:f}")
        yield Mistake(joined(*prefix, "total"), "total", text)


def _sum(order: Mapping[str, Any]) -> Decimal:
    """Of exact lines, rounded once."""
    with localcontext(_EXACT):
        return sum(map(_line, order["items"]), Decimal(0)).quantize(CENT)


def _line(item: Mapping[str, Any]) -> Decimal:
    return amount(item["quantity"], QUANTITY_PLACES) * amount(item["price"], PRICE_PLACES)


def _shown_item(item: Mapping[str, Any]) -> dict[str, Any]:
    quantity = amount(item["quantity"], QUANTITY_PLACES)
    stock = amount(item["stock"], QUANTITY_PLACES) if item.get("stock") is not None else None
    with localcontext(_EXACT):
        line = _line(item).quantize(CENT)
    return {
        **item,
        "quantity_shown": _number(quantity),
        "price_shown": money(_price(item["price"])),
        "sum_shown": money(line),
        "stock": item.get("stock"),
        "stock_shown": "" if stock is None else _number(stock),
        "is_short": stock is not None and stock < quantity,
    }


def _price(value: Any) -> Decimal:
    """Without zeros beyond the cents."""
    price = amount(value, PRICE_PLACES)
    return price.quantize(CENT) if price == price.quantize(CENT) else price.normalize()
