# The service in a container: web, worker and beat are the same image with different commands.
FROM python:3.11-slim-trixie

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# pg_dump and psql for the backups: not older than the server of docker-compose.yml.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# The packages first: a change of the source does not install them anew.
COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt

COPY . .

# The code belongs to root: the service cannot change it. It writes to these directories only, and beside manage.py
# where it uses SQLite.
RUN python -m compileall -q -j 0 . \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp notifier \
    && mkdir -p staticfiles backups \
    && chown notifier:notifier . staticfiles backups

USER notifier
ENV HOST=0.0.0.0 \
    PORT=8000 \
    HOME=/tmp
EXPOSE 8000
STOPSIGNAL SIGTERM

# For the web server; docker-compose.yml has other checks for worker and beat.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "scripts/healthcheck.py", "web"]

CMD ["./scripts/start_web.sh"]
