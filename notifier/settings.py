"""The project's settings: one line a variable of the environment. `.env.example` explains each.

Checks of values live in `environment.py`; what several settings mean together is decided in their own rooms
(`provider_accounts.py`, `celery.py`).
"""

import base64
import hashlib
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cryptography.fernet import Fernet
from django.utils.translation import gettext_lazy as _

from notifier import environment as env
from notifier.brokers import (
    AMQP_FAILS_FAST,
    AMQP_TLS,
    BROKER_FAILS_FAST,
    MEMORY_BROKER,
    bell_queue,
    cacheops_redis,
)
from notifier.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env.load_file(BASE_DIR)

# --- Who we are ------------------------------------------------------------------------------------------------------
DEBUG = env.boolean("DJANGO_DEBUG", default=False)
SECRET_KEY = env.text("DJANGO_SECRET_KEY", default="development-only-" + "0" * 40 if DEBUG else "")
if not SECRET_KEY:
    raise env.missing("DJANGO_SECRET_KEY", "without DJANGO_DEBUG=1 it is needed", "a-long-random-text")
HOST = env.host("HOST", default="127.0.0.1", example="127.0.0.1")
PORT = env.whole("PORT", default=8000, least=1, most=65535)
WEB_CONCURRENCY = env.whole("WEB_CONCURRENCY", default=1, least=1, most=64)
ALLOWED_HOSTS = list(env.hosts("DJANGO_ALLOWED_HOSTS", default="127.0.0.1,localhost,[::1]", any_host=True))
_at = f"[{HOST}]" if ":" in HOST else HOST
PUBLIC_URL = env.url(
    "PUBLIC_URL",
    ["http", "https"],
    default=f"http://{_at}:{PORT}",
    example="https://notifier.example.com",
    is_beginning=True,
)
HTTPS = PUBLIC_URL.startswith("https://")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
SALES_EMAIL = env.email("SALES_EMAIL", example="sales@example.com")

ENCRYPTION_KEYS = env.words("ENCRYPTION_KEYS", example=Fernet.generate_key().decode()) or (
    (base64.urlsafe_b64encode(hashlib.sha256(f"encryption:{SECRET_KEY}".encode()).digest()).decode(),) if DEBUG else ()
)
if not ENCRYPTION_KEYS:
    raise env.missing("ENCRYPTION_KEYS", "without DJANGO_DEBUG=1 it is needed", Fernet.generate_key().decode())

# --- Parts -----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "notifier.apps.NotifierConfig",  # before staticfiles: our runserver works the ledger too
    "api.apps.ApiConfig",
    "backup.apps.BackupsConfig",
    "accounts.apps.AccountsConfig",
    "deadlines.apps.DeadlinesConfig",
    "sandbox.apps.SandboxConfig",
    "django.contrib.admin.apps.SimpleAdminConfig",  # its pages are made by `urls.py`: a worker has no use for them
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "cacheops",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "api.guards.Guards",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "api.hosts.HostMiddleware",
    "api.middleware.Language",  # the API's errors too speak the caller's language
    "api.middleware.Pages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "notifier.urls"
WSGI_APPLICATION = "notifier.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
MESSAGE_TEMPLATES = BASE_DIR / "templates" / "messages"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- Too many failures to sign in ------------------------------------------------------------------------------------
LOGIN_LIMITS = (5, 20, 100)  # by user and address, by address, by user: `lockout.py`
AXES_HANDLER = "notifier.lockout.LoginHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address", "username"]
AXES_FAILURE_LIMIT = LOGIN_LIMITS[0]
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # who goes on trying does not make it longer, for nobody
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "notifier.lockout.client_address"
AXES_USERNAME_CALLABLE = "notifier.lockout.name_of"
AXES_LOCKOUT_CALLABLE = "api.lockout.locked_out"
AXES_VERBOSE = False
AXES_SENSITIVE_PARAMETERS: list[str] = []  # the log says who and from where; `name_of` shows nothing that was mistyped

# --- Database: the ledger --------------------------------------------------------------------------------------------
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_database: dict[str, Any] = env.database("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
if _database["ENGINE"].endswith("sqlite3"):
    # IMMEDIATE: a transaction that will write says so at once. Otherwise two of them deadlock and one fails with
    # "database is locked" however long the timeout. WAL lets readers go on meanwhile.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    _database["OPTIONS"] = {
        "connect_timeout": 5,
        "options": "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        **_database.get("OPTIONS", {}),  # `?options=` in the URL: PgBouncer takes none unless it is told to
    }
    _database["CONN_MAX_AGE"] = 300
    _database["CONN_HEALTH_CHECKS"] = True
DATABASES = {"default": _database}

# --- Redis, cache, broker: only bells and copies, never the truth ----------------------------------------------------
REDIS_URL = env.url("REDIS_URL", ["redis", "rediss"], example="redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = env.url(
    "CELERY_BROKER_URL",
    ["redis", "rediss", "amqp", "amqps", "memory"],
    default=REDIS_URL or "memory://localhost/",
    example="amqp://user:password@127.0.0.1:5672//",
)
_BY_AMQP = CELERY_BROKER_URL.startswith("amqp")
AMQP_URL = env.url(
    "AMQP_URL",
    ["amqp", "amqps"],
    default=CELERY_BROKER_URL if _BY_AMQP else "",
    example="amqp://user:password@127.0.0.1:5672//",
)
"""Where jobs come from: `consume_amqp`."""
EMBEDDED = CELERY_BROKER_URL.startswith("memory:")
"""No broker: the web process works the ledger itself (`embedded.py`)."""

CACHEOPS_ENABLED = bool(REDIS_URL)
CACHEOPS_REDIS = cacheops_redis(REDIS_URL) if REDIS_URL else None
CACHEOPS_CLIENT_CLASS = "notifier.cache.CacheopsClient"
CACHEOPS_DEGRADE_ON_FAILURE = True
# Only rows that change when an operator changes them: a cached row may be stale for so long after an outage.
CACHEOPS = {"notifier.organization": {"ops": {"get", "fetch"}, "timeout": 30}}

CELERY_TASK_ALWAYS_EAGER = env.boolean("CELERY_TASK_ALWAYS_EAGER", default=False)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # what a dead worker held comes back by its lease, never by the broker
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_QUEUES = [bell_queue(amqp=_BY_AMQP)]
CELERY_TASK_DEFAULT_QUEUE = CELERY_TASK_QUEUES[0].name
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = MEMORY_BROKER if EMBEDDED else AMQP_FAILS_FAST if _BY_AMQP else BROKER_FAILS_FAST
CELERY_BROKER_CONNECTION_TIMEOUT = 2 if _BY_AMQP else 4
CELERY_BROKER_HEARTBEAT = 30  # RabbitMQ: half a minute until a worker notices a connection that died in silence
CELERY_BROKER_USE_SSL = dict(AMQP_TLS) if "amqps://" in CELERY_BROKER_URL else False
CELERY_BROKER_POOL_LIMIT = 32
CELERY_WORKER_POOL = "threads"  # sending is waiting; and prefork does not work on Windows
CELERY_WORKER_CONSUMER = "notifier.consumer:Consumer"
CELERY_WORKER_CONCURRENCY = 4
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_DB_REUSE_MAX = 1_000_000  # otherwise Celery opens a database connection for every task
CELERY_BEAT_SCHEDULER = "celery.beat.Scheduler"  # in memory: everything in the schedule may be run twice or late
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SCHEDULE = {
    "bell": {"task": "notifier.deliver", "schedule": 5.0, "options": {"expires": 5.0}},
    "receipts": {"task": "notifier.apply_receipts", "schedule": 5.0, "options": {"expires": 5.0}},
    "digests": {"task": "deadlines.send_digests", "schedule": 300.0, "options": {"expires": 300.0}},
    "backups": {"task": "backups.look", "schedule": 60.0, "options": {"expires": 60.0}},
    "purge": {"task": "notifier.purge", "schedule": 3600.0, "options": {"expires": 3600.0}},
    "accounts": {"task": "accounts.purge", "schedule": 3600.0, "options": {"expires": 3600.0}},
}

# --- Delivery --------------------------------------------------------------------------------------------------------
SMTP_CONNECTIONS = env.whole("SMTP_CONNECTIONS", default=16, least=1, most=1000)
CHANNELS: dict[str, dict[str, Any]] = {
    "email": {"CLASS": "channels.email.EmailChannel", "OPTIONS": {"connections": SMTP_CONNECTIONS}},
    "sms": {"CLASS": "channels.sms.SmsChannel"},
    "telegram": {"CLASS": "channels.telegram.TelegramChannel"},
}
DEFAULT_CHAIN = env.words("DEFAULT_CHAIN", default="email,sms,telegram", known=list(CHANNELS))
RETRY_DELAYS = env.spans("RETRY_DELAYS", default="30,120,600,1800,3600")
STEP_RETRY_SECONDS = env.seconds("STEP_RETRY_SECONDS", default=5)
CIRCUIT_FAILURES = env.whole("CIRCUIT_FAILURES", default=5)
CIRCUIT_SECONDS = env.seconds("CIRCUIT_SECONDS", default=30)
NOTIFICATION_TTL = env.seconds("NOTIFICATION_TTL", default=24 * 3600, least=1)
RETENTION = timedelta(days=env.whole("RETENTION_DAYS", default=90, least=1, most=36500))

SMTP_HOST = env.host("SMTP_HOST", "EMAIL_HOST", "SMTP_SERVER", example="smtp.example.com")
SMTP_USE_SSL = env.boolean("SMTP_USE_SSL", "EMAIL_USE_SSL", default=False)
SMTP_USE_TLS = env.boolean("SMTP_USE_TLS", "EMAIL_USE_TLS", default=not SMTP_USE_SSL)
if SMTP_USE_SSL and SMTP_USE_TLS:
    raise env.wrong("SMTP_USE_SSL", "SMTP_USE_TLS (STARTTLS) and SMTP_USE_SSL exclude each other", "0")
SMTP_PORT = env.whole("SMTP_PORT", "EMAIL_PORT", default=465 if SMTP_USE_SSL else 587, least=1, most=65535)
SMTP_DEFAULT_USER = env.text("SMTP_DEFAULT_USER", "EMAIL_HOST_USER", "SMTP_USER")
SMTP_DEFAULT_PASSWORD = env.text("SMTP_DEFAULT_PASSWORD", "EMAIL_HOST_PASSWORD", "SMTP_PASSWORD")
DEFAULT_FROM_EMAIL = env.sender("DEFAULT_FROM_EMAIL", default=SMTP_DEFAULT_USER if "@" in SMTP_DEFAULT_USER else "")
SMTP_TIMEOUT = env.seconds("SMTP_TIMEOUT", "EMAIL_TIMEOUT", default=10)
SMTP_REPLY_TIMEOUT = timedelta(seconds=60)  # RFC 5321 §4.5.3.2.6 asks for patience here: giving up makes doubles
SMTP_OVERRIDE_HOSTS = env.hosts("SMTP_OVERRIDE_HOSTS", with_port=True, any_host=True)

TELEGRAM_BOT_TOKEN = env.text("TELEGRAM_BOT_TOKEN")
TELEGRAM_PARSE_MODE = env.one_of("TELEGRAM_PARSE_MODE", ["HTML", "MarkdownV2", "Markdown"])
TELEGRAM_DISABLE_WPP = env.boolean("TELEGRAM_DISABLE_WPP", default=True)
TELEGRAM_TIMEOUT = env.seconds("TELEGRAM_TIMEOUT", default=10)
TELEGRAM_API_URL = env.url("TELEGRAM_API_URL", ["http", "https"], example="http://127.0.0.1:8081", is_beginning=True)

SMS_PROVIDER = env.words("SMS_PROVIDER", known=["twilio", "smsru", "smsc", "http"], example="twilio,smsc")
SMS_SENDER = env.text("SMS_SENDER")
SMS_MAX_PARTS = env.whole("SMS_MAX_PARTS", default=6, least=1, most=10)
SMS_HTTP_URL = env.url("SMS_HTTP_URL", ["http", "https"], example="https://sms.example.com/send")
SMS_HTTP_TOKEN = env.text("SMS_HTTP_TOKEN")
TWILIO_ACCOUNT_SID = env.text("TWILIO_ACCOUNT_SID")
TWILIO_AUTH_TOKEN = env.text("TWILIO_AUTH_TOKEN")
TWILIO_FROM = env.text("TWILIO_FROM")
TWILIO_API_URL = env.url("TWILIO_API_URL", ["http", "https"], example="https://api.twilio.com", is_beginning=True)
SMSRU_API_ID = env.text("SMSRU_API_ID")
SMSRU_API_URL = env.url("SMSRU_API_URL", ["http", "https"], example="https://sms.ru", is_beginning=True)
SMSC_LOGIN = env.text("SMSC_LOGIN")
SMSC_PASSWORD = env.text("SMSC_PASSWORD")
SMSC_API_URL = env.url("SMSC_API_URL", ["http", "https"], example="https://smsc.ru", is_beginning=True)
PHONE_REGION = env.region("PHONE_REGION")

CALLBACK_HOSTS = env.hosts("CALLBACK_HOSTS", with_port=True)

# --- Backups ---------------------------------------------------------------------------------------------------------
EMAIL_BACKUP_ENABLED = env.boolean("EMAIL_BACKUP_ENABLED", default=False)
EMAIL_BACKUP_RECIPIENT = env.emails("EMAIL_BACKUP_RECIPIENT")
if EMAIL_BACKUP_ENABLED and not EMAIL_BACKUP_RECIPIENT:
    raise env.missing("EMAIL_BACKUP_RECIPIENT", "with EMAIL_BACKUP_ENABLED=1 it is needed", "admin@example.com")
EMAIL_BACKUP_SUBJECT_PREFIX = env.line("EMAIL_BACKUP_SUBJECT_PREFIX", default="[Notifier] Backup", longest=200)
LOCAL_BACKUP_DIR = BASE_DIR / env.text("LOCAL_BACKUP_DIR", default="backups")
LOCAL_BACKUP_FILENAME = env.file_name("LOCAL_BACKUP_FILENAME", default="latest_backup.sql.gz")
DB_BACKUP_TIMEOUT = env.seconds("DB_BACKUP_TIMEOUT", default=300, least=1)
BACKUP_PUBLIC_KEY = env.age_key("BACKUP_PUBLIC_KEY")
BACKUP_MAIL_LIMIT_MB = env.whole("BACKUP_MAIL_LIMIT_MB", default=15, most=100)
BACKUP_WEBHOOK_URL = env.url("BACKUP_WEBHOOK_URL", ["http", "https"], example="https://example.com/hooks/backups")
BACKUP_SCHEDULE = env.schedule("BACKUP_SCHEDULE", default="0 3 * * *")
HEALTH_NOTES = {"backup": "backup.health.note"}
"""What `/health/ready` shows besides; whatever they say, the service can take requests."""

# --- API -------------------------------------------------------------------------------------------------------------
API_OPEN = env.boolean("API_OPEN", default=DEBUG)
API_THROTTLE_SEND = env.rate("API_THROTTLE_SEND", default="600/min")
API_THROTTLE_OPEN = bool(env.text("API_THROTTLE_SEND"))  # who has no key is counted only where somebody wished so
API_THROTTLE_RECIPIENT = env.limit("API_THROTTLE_RECIPIENT", example=20)
API_THROTTLE_DAY = env.limit("API_THROTTLE_DAY", example=10000)
MAX_BODY_BYTES = 10 * 1024 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.Members",
        "api.authentication.ApiKeys",
        "api.authentication.OpenAccess",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.MayDoThis"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["api.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "api.renderers.Negotiation",
    "DEFAULT_PAGINATION_CLASS": "api.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
STREAM_AUTHENTICATION = "accounts.authentication.SocketTokens"  # of a `?token=`
SPECTACULAR_SETTINGS = {
    "TITLE": "Notifier",
    "DESCRIPTION": "Post a notification; it is carried along e-mail, SMS and Telegram until somebody has it.",
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "displayRequestDuration": True, "tryItOutEnabled": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums"],
}

# --- Accounts --------------------------------------------------------------------------------------------------------
_for_development = hashlib.sha256(f"accounts:{SECRET_KEY}".encode()).hexdigest() if DEBUG else ""
JWT_SECRET_KEY = env.secret("JWT_SECRET_KEY", default=_for_development)
"""Empty: the accounts are switched off."""
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SECRET_KEY or secrets.token_hex(32),  # else the library takes Django's secret key
    "AUDIENCE": "notifier",
    "ISSUER": "notifier",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=60),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "CHECK_REVOKE_TOKEN": True,
}

# --- Language, time, files, logs -------------------------------------------------------------------------------------
LANGUAGES = [("en", _("English")), ("ru", _("Russian"))]
LANGUAGE_CODE = env.one_of("LANGUAGE_CODE", ["en", "ru"], default="en")
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.checked(
    "TIME_ZONE", lambda name: ZoneInfo(name).key, default="UTC", problem="no such time zone", example="Europe/Berlin"
)
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEBUG
if DEBUG:
    STATIC_ROOT.mkdir(exist_ok=True)  # otherwise whitenoise warns, although the finders serve everything
WHITENOISE_AUTOREFRESH = False
LOG_LEVEL = env.one_of("LOG_LEVEL", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], default="INFO")
LOG_FILE = env.log_file("LOG_FILE")
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_config(LOG_LEVEL, LOG_FILE)
SENTRY_DSN = env.url("SENTRY_DSN", ["http", "https"], example="https://key@sentry.example.com/1")
DEFAULT_EXCEPTION_REPORTER = "api.error_reports.ReticentReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "api.error_reports.ReticentFilter"
LOGIN_URL = "admin:login"

# --- Browsers --------------------------------------------------------------------------------------------------------
DEMO_PAGE = DEBUG
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_TRUSTED_ORIGINS = [f"https://{urlsplit(PUBLIC_URL).netloc}"] if HTTPS else []
CSRF_FAILURE_VIEW = "api.refusals.csrf_failure"
# Who speaks https to a caller is a proxy in front of us. Without one that is trusted we cannot tell https from http,
# and a redirect would lead in a circle. There is no SECURE_PROXY_SSL_HEADER: it believes everybody, the web server
# (`server.py`) only TRUSTED_PROXIES.
SECURE_SSL_REDIRECT = HTTPS and bool(TRUSTED_PROXIES)
SECURE_SSL_HOST = urlsplit(PUBLIC_URL).netloc
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^api(?!/docs|/redoc)"]  # a redirect would lose a body: `api/guards.py`
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
# W003 and E408-E410 look for Django's own classes, which are all in `api.middleware.Pages`. W005, W021: other names
# below ours, and the browsers' own list, are for the owner of the domain to decide.
SILENCED_SYSTEM_CHECKS = ["security.W003", "admin.E408", "admin.E409", "admin.E410", "security.W005", "security.W021"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
