"""What a browser may load and run on our pages: the Content-Security-Policy of every answer."""

HEADER = "Content-Security-Policy"

_STYLES = "style-src 'self'"

PAGES = (
    f"default-src 'none'; script-src 'self'; {_STYLES}; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere. `data:`: small drawings within the stylesheets of Swagger UI."""

DATA = "default-src 'none'; frame-ancestors 'none'"
"""What is no page, and must not become one."""

_EMPTY = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
_SCROLLBARS = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"

REDOC = f"{PAGES.replace(_STYLES, f'{_STYLES} {_EMPTY} {_SCROLLBARS}')}; worker-src blob:"
"""ReDoc's bundle makes two style elements, an empty one and one for its scrollbars, known by their hashes (a new bundle
may have another: then its browser test fails); and it searches in a worker that it makes itself."""
