"""The tables of the plain view: beside its settings, which only its own process can import."""

SQL = """
    CREATE TABLE person (id bigserial PRIMARY KEY, email text NOT NULL);
    CREATE TABLE message (
        id bigserial PRIMARY KEY,
        person_id bigint NOT NULL REFERENCES person,
        subject text NOT NULL,
        text text NOT NULL,
        status varchar(16) NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX message_of_person ON message (person_id, id DESC);
    CREATE INDEX message_queued ON message (id) WHERE status = 'queued';
    INSERT INTO person (email) VALUES ('u0@sink.test');
"""
