"""JSON out, as UTF-8."""

from rest_framework.renderers import JSONRenderer as StockRenderer


class JSONRenderer(StockRenderer):
    """JSON, named as such without a charset (RFC 8259 §11)."""

    charset = None
